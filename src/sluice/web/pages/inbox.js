// Shows the latest log-in codes to an admin. The token stays in this page: nothing stores it.

const EVERY_MS = 2000;
const form = document.getElementById("form");
const token = document.getElementById("token");
const said = document.getElementById("said");
const table = document.getElementById("codes");
let timer = 0;

function cell(text) {
  const node = document.createElement("td");
  node.textContent = text;
  return node;
}

function show(codes) {
  const rows = codes.map((each) => {
    const row = document.createElement("tr");
    row.append(cell(each.phone), cell(each.code), cell(new Date(each.expires_at).toLocaleTimeString()));
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = rows.length === 0;
  said.textContent = rows.length === 0 ? "No code was sent in the last ten minutes." : "";
}

async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await fetch("/v1/admin/inbox", {
      headers: { authorization: `Bearer ${token.value.trim()}` },
      credentials: "omit",
      cache: "no-store",
    });
    const body = await answer.json();
    if (answer.ok) {
      show(body.data);
    } else {
      said.textContent = body.detail;
      if (answer.status < 500) return;
    }
  } catch {
    said.textContent = "Sluice does not answer; trying again.";
  }
  timer = setTimeout(refresh, EVERY_MS);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  refresh();
});
