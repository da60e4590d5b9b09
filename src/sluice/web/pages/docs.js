// Shows openapi.json. Every text goes in as text, never as HTML.

const METHODS = ["get", "post", "put", "patch", "delete"];
const NEST_MAX = 6;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// `code`, **bold** and [links](/to/pages): as much Markdown as the document uses.
function prose(text) {
  return (text ?? "").split(/\n\s*\n/).map((paragraph) => {
    const node = make("p");
    const pattern = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\((\/[^)\s]*)\)/g;
    let at = 0;
    for (const match of paragraph.matchAll(pattern)) {
      node.append(paragraph.slice(at, match.index));
      if (match[1] !== undefined) node.append(make("code", {}, match[1]));
      else if (match[2] !== undefined) node.append(make("strong", {}, match[2]));
      else node.append(make("a", { href: match[4] }, match[3]));
      at = match.index + match[0].length;
    }
    node.append(paragraph.slice(at));
    return node;
  }).filter((node) => node.textContent.trim() !== "");
}

const asked = (required) => (required ? "required" : "");
const told = (required) => (required ? "" : "not always");

class Page {
  constructor(document_) {
    this.document = document_;
  }

  resolve(schema) {
    let found = schema ?? {};
    for (let i = 0; found.$ref && i < NEST_MAX; i += 1) {
      const path = found.$ref.replace(/^#\//, "").split("/");
      found = path.reduce((node, name) => node?.[name], this.document) ?? {};
    }
    if (!found.allOf) return found;
    const parts = found.allOf.map((part) => this.resolve(part));
    return {
      type: "object",
      required: parts.flatMap((part) => part.required ?? []),
      properties: Object.assign({}, ...parts.map((part) => part.properties ?? {})),
    };
  }

  kind(schema) {
    const s = this.resolve(schema);
    if (s.enum) return s.enum.map((value) => JSON.stringify(value)).join(" · ");
    if (s.anyOf) return s.anyOf.map((part) => this.kind(part)).join(" or ");
    if (s.type === "array") return `list of ${this.kind(s.items)}`;
    const base = Array.isArray(s.type) ? s.type.join(" or ") : s.type ?? "anything";
    const bounds = [];
    if (s.format) bounds.push(s.format);
    if (s.minimum !== undefined && s.maximum !== undefined) bounds.push(`${s.minimum} to ${s.maximum}`);
    else if (s.minimum !== undefined) bounds.push(`at least ${s.minimum}`);
    if (s.maxLength !== undefined) bounds.push(`up to ${s.maxLength} characters`);
    if (s.default !== undefined) bounds.push(`else ${JSON.stringify(s.default)}`);
    return bounds.length ? `${base}, ${bounds.join(", ")}` : base;
  }

  inner(schema) {
    const s = this.resolve(schema);
    if (s.properties) return s;
    if (s.items) return this.inner(s.items);
    for (const part of s.anyOf ?? []) {
      const found = this.inner(part);
      if (found) return found;
    }
    return null;
  }

  // In a request it matters what must be there, in an answer what may be missing.
  fields(schema, words, depth = 0) {
    const object = this.inner(schema);
    if (!object || depth >= NEST_MAX) return null;
    const required = new Set(object.required ?? []);
    const list = make("ul", { class: "fields" });
    for (const [name, part] of Object.entries(object.properties)) {
      list.append(this.field(name, part, words(required.has(name)), words, depth));
    }
    return list;
  }

  field(name, schema, word, words, depth = 0, description = this.resolve(schema).description) {
    return make(
      "li", {},
      make("span", { class: "name" }, name), " ",
      make("span", { class: "kind" }, this.kind(schema)),
      word ? make("span", { class: "must" }, ` ${word}`) : null,
      ...prose(description),
      this.fields(schema, words, depth + 1),
    );
  }

  parameters(list) {
    if (!list?.length) return [];
    const node = make("ul", { class: "fields" });
    for (const p of list) {
      const where = p.in === "path" ? `{${p.name}}` : p.in === "query" ? `?${p.name}=` : `${p.name}:`;
      node.append(this.field(where, p.schema, asked(p.required), asked, 0, p.description));
    }
    return [make("h4", {}, "Parameters"), node];
  }

  request(body) {
    const [type, content] = Object.entries(body?.content ?? {})[0] ?? [];
    if (!content) return [];
    return [
      make("h4", {}, `Body · ${type}`),
      this.fields(content.schema, asked) ?? make("p", { class: "note" }, "Empty, or {}."),
    ];
  }

  answer(status, said) {
    const [type, content] = Object.entries(said.content ?? {})[0] ?? [];
    const inside = make("div");
    const examples = content?.examples ?? (content?.example === undefined ? {} : { "": { value: content.example } });
    for (const [code, example] of Object.entries(examples)) {
      if (code) inside.append(make("p", {}, make("a", { href: `/docs/problems#${code}` }, make("code", {}, code))));
      inside.append(shown(example.value));
    }
    const fields = content?.schema && !type.includes("problem") ? this.fields(content.schema, told) : null;
    if (fields) inside.append(make("details", { class: "shape" }, make("summary", {}, "Fields"), fields));
    const open = status.startsWith("2") ? { open: "" } : {};
    return make(
      "details", { class: "answer", ...open },
      make("summary", {}, make("span", { class: `status s${status[0]}` }, status), " ", said.description),
      inside,
    );
  }

  curl(path, method, operation) {
    const words = ["curl"];
    if (method !== "get") words.push(`-X ${method.toUpperCase()}`);
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => {
      const parameter = operation.parameters?.find((p) => p.in === "path" && p.name === name);
      return parameter?.example ?? name;
    });
    words[0] = `${words.join(" ")} $SLUICE${filled}`;
    words.length = 1;
    if (operation.security?.length) {
      words.push(`-H "Authorization: Bearer $${Object.keys(operation.security[0])[0].toUpperCase()}_TOKEN"`);
    }
    for (const p of operation.parameters ?? []) {
      if (p.in === "header" && p.required) words.push(`-H '${p.name}: ${p.example}'`);
    }
    const example = operation.requestBody?.content?.["application/json"]?.example;
    if (example && Object.keys(example).length) {
      words.push(`--json '${JSON.stringify(example).replaceAll("'", "'\\''")}'`);
    }
    return words.join(" \\\n  ");
  }

  operation(path, method, operation) {
    return make(
      "article", { class: "operation", id: operation.operationId },
      make("h3", {}, operation.summary),
      make("p", { class: "address" }, make("span", { class: `method ${method}` }, method), make("code", {}, path)),
      ...prose(operation.description),
      ...this.parameters(operation.parameters),
      ...this.request(operation.requestBody),
      make("h4", {}, "Try it"),
      make("pre", { tabindex: "0" }, make("code", {}, this.curl(path, method, operation))),
      make("h4", {}, "Answers"),
      ...Object.entries(operation.responses).map(([status, said]) => this.answer(status, said)),
    );
  }

  draw(main, index) {
    const { info, tags, paths, components } = this.document;
    main.replaceChildren(make("h1", {}, `${info.title} API`), make("p", { class: "note" }, `Version ${info.version}`), ...prose(info.description));
    main.append(make("h4", {}, "Who is asking"));
    const kinds = make("ul", { class: "fields" });
    for (const [name, scheme] of Object.entries(components.securitySchemes)) {
      kinds.append(make("li", {}, make("span", { class: "name" }, `Authorization: Bearer $${name.toUpperCase()}_TOKEN`), ...prose(scheme.description)));
    }
    main.append(kinds);
    for (const tag of tags) {
      main.append(make("h2", { class: "tag", id: `tag-${tag.name}` }, tag.name), ...prose(tag.description));
      const links = make("ul");
      for (const [path, operations] of Object.entries(paths)) {
        for (const method of METHODS) {
          const operation = operations[method];
          if (!operation?.tags?.includes(tag.name)) continue;
          main.append(this.operation(path, method, operation));
          links.append(make("li", {}, make("a", { href: `#${operation.operationId}` }, make("span", { class: `method ${method}` }, method), ` ${operation.summary}`)));
        }
      }
      index.append(make("h2", {}, tag.name), links);
    }
  }
}

function shown(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return make("pre", { tabindex: "0" }, make("code", {}, text));
}

async function start() {
  const main = document.getElementById("main");
  const contents = document.getElementById("contents");
  if (window.matchMedia("(max-width: 52rem)").matches) contents.removeAttribute("open");
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`/openapi.json answered ${answer.status}`);
    new Page(await answer.json()).draw(main, document.getElementById("index"));
    // The address may point at what was not there when the page was opened.
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView({ behavior: "instant" });
  } catch (error) {
    main.replaceChildren(make("p", { class: "error" }, `The document could not be shown: ${error.message}`));
  }
  main.removeAttribute("aria-busy");
}

start();
