// The table of devices: filtered, sorted, and drawn as far as it is looked at.
const CHUNK = 150;
const PRINTED = 2000;
const text = new Intl.Collator("en", { numeric: true });
const words = (name) => (row) => row[name] || "";
const RANK = Object.fromEntries(STATUSES.map((status, i) => [status, i]));
// id, title, width in %, how it sorts (text or number), what the cell shows
const COLUMNS = [
  ["device", "Device", 12, words("device"), null],
  ["platform", "Platform", 10.5, words("platform"), (row) => [row.platform, row.override ? el("span", { className: "tag" }, " (another asked for)") : null]],
  ["variant", "Variant", 10.5, (row) => variants[row.stack].join(" "), (row) => {
    const [platforms, what] = variants[row.stack];
    return [platforms, what ? el("span", { className: "tag mono" }, ` ${what}`) : null];
  }],
  ["match", "Match", 8.2, words("match"), null],
  ["engine", "Engine", 7.6, words("engine"), null],
  ["transport", "Transport", 7.5, words("transport"), null],
  ["status", "Status", 8.5, (row) => RANK[row.status], (row) => [state(row.status)]],
  ["code", "Reason", 8, words("code"), null],
  ["bytes", "Bytes", 6.2, (row) => row.bytes, (row) => [row.bytes ? size(row.bytes) : ""]],
  ["seconds", "Time", 5.3, (row) => row.seconds, (row) => [row.seconds ? took(row.seconds) : ""]],
  ["wave", "Wave", 4.5, (row) => row.wave, (row) => [row.wave ? String(row.wave) : ""]],
  ["error", "Error", 12.2, words("error"), (row) => [row.error ? el("span", {}, row.error) : ""]],
];
const NUMBERS = new Set(["bytes", "seconds", "wave"]);
const FILTERS = ["status", "platform", "wave"];
const view = { sort: "status", down: false, text: "", status: "", platform: "", wave: "" };
const opened = new Set();
let found = [];
let drawn = 0;

const stackWords = data.stacks.map((stack) => stack.map((number) => {
  const image = data.images[number];
  return [image.reference, image.platform, image.manifest, image.digest, image.at_hand, image.error].filter(Boolean).join(" ");
}).join(" ").toLowerCase());
for (const row of rows) {
  row.words = [row.device, row.platform, row.status, row.match, row.engine, row.transport, row.code, row.error]
    .filter(Boolean).join(" ").toLowerCase();
}

// `device:NAME` and `reason:CODE` are exactly that one; else every word has to be somewhere in the row.
function matcher(asked) {
  if (asked.startsWith("device:")) return (row) => row.device === asked.slice(7);
  if (asked.startsWith("reason:")) return (row) => row.code === asked.slice(7);
  const terms = asked.toLowerCase().split(/\s+/).filter(Boolean);
  const inStack = terms.map((term) => stackWords.map((words) => words.includes(term)));
  return (row) => terms.every((term, i) => row.words.includes(term) || inStack[i][row.stack]);
}

function find() {
  const matches = matcher(view.text);
  const key = COLUMNS.find(([id]) => id === view.sort)[3];
  const turn = view.down ? -1 : 1;
  const keys = new Map(rows.map((row) => [row, key(row)]));
  const compare = (a, b) => {
    const one = keys.get(a), other = keys.get(b);
    if (typeof one === "number") return turn * (one - other);
    if (!one || !other) return (one ? 0 : 1) - (other ? 0 : 1); // what is empty stays at the end
    return turn * text.compare(one, other);
  };
  found = rows.filter((row) => FILTERS.every((name) => view[name] === "" || String(row[name]) === view[name]) && matches(row));
  found.sort((a, b) => compare(a, b) || text.compare(a.device, b.device));
}

function drawRow(row) {
  const line = el("tr", { className: "row", role: "row" });
  for (const [id, title, , , cell] of COLUMNS) {
    const kind = NUMBERS.has(id) ? "number" : id === "error" ? "cut" : id === "status" ? "" : "broken";
    const inside = id === "device" ? [opener(row, line)] : cell ? cell(row) : [row[id]];
    const made = el("td", { className: `${id} ${kind}`, role: "cell", "data-title": title }, ...inside);
    if (!made.firstChild) made.classList.add("nothing");
    line.append(made);
  }
  line.addEventListener("click", (event) => {
    if (!event.target.closest("button") && !String(getSelection())) toggle(row, line);
  });
  return line;
}

function opener(row, line) {
  const button = el("button", { type: "button", className: "opener", "aria-expanded": "false" }, row.device);
  button.addEventListener("click", () => toggle(row, line));
  return button;
}

function toggle(row, line) {
  const button = line.querySelector(".opener");
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  line.classList.toggle("open", open);
  if (!open) {
    opened.delete(row);
    button.removeAttribute("aria-controls");
    line.nextSibling.remove();
    return;
  }
  opened.add(row);
  const detail = el("tr", { className: "detail", id: `detail-${row.index}`, role: "row" });
  detail.append(el("td", { colSpan: COLUMNS.length, role: "cell" }, ...deviceDetails(row)));
  line.after(detail);
  button.setAttribute("aria-controls", detail.id);
}

function drawMore(number) {
  const until = Math.min(found.length, drawn + number);
  const lines = found.slice(drawn, until).map((row) => [row, drawRow(row)]);
  byId("rows").append(...lines.map(([, line]) => line));
  for (const [row, line] of lines) if (opened.has(row)) toggle(row, line);
  drawn = until;
  byId("more").hidden = drawn === found.length;
  byId("more").textContent = `Show more (${(found.length - drawn).toLocaleString("en")} left)`;
}

function refresh() {
  find();
  byId("rows").replaceChildren();
  drawn = 0;
  drawMore(CHUNK);
  const all = rows.length.toLocaleString("en");
  byId("count").textContent = found.length === rows.length ? count(rows.length, "device") : `${found.length.toLocaleString("en")} of ${all} devices`;
  byId("none").hidden = found.length > 0;
  for (const title of byId("titles").children) {
    const mine = title.dataset.id === view.sort;
    title.setAttribute("aria-sort", mine ? (view.down ? "descending" : "ascending") : "none");
  }
  for (const name of ["text", "sort", ...FILTERS]) if (byId(name).value !== view[name]) byId(name).value = view[name];
}

function sortBy(id) {
  view.down = view.sort === id ? !view.down : NUMBERS.has(id) && id !== "wave"; // the most bytes and seconds first
  view.sort = id;
  refresh();
}

// Show the devices that are so, and nothing else.
function choose(wanted) {
  Object.assign(view, { text: "", status: "", platform: "", wave: "" }, wanted);
  refresh();
  if (found.length === 1) {
    const line = byId("rows").firstChild;
    if (!opened.has(found[0])) toggle(found[0], line);
  }
  byId("devices").scrollIntoView({ block: "start" });
  byId("devices").focus({ preventScroll: true });
}

function options(id, all, values) {
  byId(id).append(el("option", { value: "" }, all), ...values.map((value) => el("option", { value }, value)));
}

function setUpTable() {
  for (const [id, title, width] of COLUMNS) {
    const button = el("button", { type: "button" }, title);
    button.addEventListener("click", () => sortBy(id));
    const head = el("th", { scope: "col", role: "columnheader", className: NUMBERS.has(id) ? "number" : "", "data-id": id }, button);
    head.style.width = `${width}%`;
    byId("titles").append(head);
    byId("sort").append(el("option", { value: id }, title));
  }
  options("status", "all", SHOWN.filter((status) => data.totals.statuses[status]));
  options("platform", "all", Object.keys(data.totals.platforms));
  options("wave", "all", data.waves.map(([number]) => String(number)));
  for (const name of FILTERS) byId(name).addEventListener("change", (event) => { view[name] = event.target.value; refresh(); });
  byId("text").addEventListener("input", (event) => { view.text = event.target.value; refresh(); });
  byId("sort").addEventListener("change", (event) => { view.sort = event.target.value; view.down = false; refresh(); });
  byId("turn").addEventListener("click", () => sortBy(view.sort));
  byId("reset").addEventListener("click", () => { Object.assign(view, { text: "", status: "", platform: "", wave: "" }); refresh(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => drawMore(CHUNK));
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) drawMore(CHUNK); }, { rootMargin: "600px" }).observe(byId("more"));
  addEventListener("beforeprint", () => { if (drawn < PRINTED) drawMore(PRINTED - drawn); });
  refresh();
}
