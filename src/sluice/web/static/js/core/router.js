// Pages within one shell: links of ours change the address and the view, without a load.

/** `routes`: [["/sales/:id", view], …]; `view({params, query, path})` shows the page and may answer
 * (also later) a function that is called when it is left. Unknown paths go to the "*" route. */
export function router(routes, { base = "/" } = {}) {
  const known = routes.map(([path, view]) => [pattern(path), view]);
  let leave = null;
  let turn = 0;

  async function show(moved) {
    const mine = ++turn;
    const path = location.pathname.replace(/(.)\/+$/, "$1");
    leave?.();
    leave = null;
    for (const [match, view] of known) {
      const found = match.exec(path);
      if (!found) continue;
      const left = await view({ params: found.groups ?? {}, query: new URLSearchParams(location.search), path });
      if (mine === turn) leave = left ?? null;
      else left?.();
      if (moved) focusPage();
      return;
    }
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (!within(link.pathname) || link.getAttribute("href").startsWith("#")) return;
    event.preventDefault();
    go(link.pathname + link.search + link.hash);
  });
  addEventListener("popstate", () => show(true));

  const within = (path) => (base === "/" ? known.slice(0).some(([match]) => match.source !== ".*" && match.test(path)) : path === base || path.startsWith(`${base}/`));

  function go(path, { replace = false } = {}) {
    if (replace) history.replaceState(null, "", path);
    else history.pushState(null, "", path);
    scrollTo(0, 0);
    return show(true);
  }
  return { go, show: () => show(false) };
}

function pattern(path) {
  if (path === "*") return /.*/;
  return new RegExp(`^${path.replace(/:(\w+)/g, "(?<$1>[^/]+)")}$`);
}

/** After a change of page its heading has the focus, as after a load. */
export function focusPage() {
  const heading = document.querySelector("main h1") ?? document.querySelector("main");
  if (heading) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
}
