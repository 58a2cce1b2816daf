// Bars: devices by status and platform, bytes.
function part(status, number) {
  const made = el("i", { className: status, title: `${number} ${status}` });
  made.style.flex = `${number} 0 0`;
  return made;
}

function parts(counts) {
  return SHOWN.filter((status) => counts[status]).map((status) => part(status, counts[status]));
}

function drawStatuses(choose) {
  byId("share").append(...parts(data.totals.statuses));
  for (const status of SHOWN) {
    const number = data.totals.statuses[status];
    if (!number) continue;
    const button = el("button", { type: "button", title: `Show the devices with the status ${status}` },
      mark(status), el("b", {}, number.toLocaleString("en")), ` ${status}`);
    button.addEventListener("click", () => choose({ status }));
    byId("statuses").append(el("li", {}, button));
  }
}

function drawPlatforms(choose) {
  const platforms = Object.entries(data.totals.platforms);
  const sum = (counts) => Object.values(counts).reduce((all, one) => all + one, 0);
  const most = Math.max(...platforms.map(([, counts]) => sum(counts)), 1);
  for (const [name, counts] of platforms) {
    const all = sum(counts);
    const good = (counts.pulled || 0) + (counts["up-to-date"] || 0);
    const bar = el("div", { className: "bar", "aria-hidden": "true" }, ...parts(counts));
    bar.style.width = `${(100 * all) / most}%`;
    const button = el("button", { type: "button", className: "link mono", title: `Show the devices of ${name}` }, name);
    button.addEventListener("click", () => choose({ platform: name }));
    const words = SHOWN.filter((status) => counts[status]).map((status) => `${counts[status]} ${status}`).join(", ");
    const said = el("span", { className: "said", title: words }, `${good.toLocaleString("en")} of ${all.toLocaleString("en")}`);
    byId("platforms").append(el("li", {}, button, el("div", { className: "bar-place" }, bar), said));
  }
}

function drawBytes() {
  const { origin_bytes: origin, bytes, alone_bytes: alone } = data.totals;
  const lines = [
    ["From the origin", origin, ""],
    ["To the devices", bytes, ""],
    ["From the origin, had each device pulled by itself", alone, "alone"],
  ];
  const most = Math.max(origin, bytes, alone, 1);
  for (const [title, value, kind] of lines) {
    const bar = el("div", { className: `bar ${kind}`, "aria-hidden": "true", hidden: value === 0 });
    bar.style.width = `${(100 * value) / most}%`;
    byId("bytes").append(el("li", {}, el("span", { className: "said" }, title, el("b", {}, size(value))), bar));
  }
  const saved = byId("saved");
  if (!bytes && !alone) saved.append("Nothing had to travel.");
  else if (!origin) saved.append("Nothing had to come from the origin: all was at hand.");
  else if (alone / origin >= 1.05) {
    saved.append(el("b", {}, `${Number((alone / origin).toPrecision(alone / origin < 10 ? 2 : 3)).toLocaleString("en")} ×`), " fewer bytes from the origin");
  }
}

function drawStops() {
  if (!data.stops.length) return;
  const list = el("ul", {});
  for (const [platform, reason, at] of data.stops) {
    list.append(el("li", {}, el("b", {}, `Stopped for ${platform || "all devices"}`), " at ", moment(at, HOUR), `: ${reason}`));
  }
  byId("stops").append(list);
  byId("stops").hidden = false;
}

function drawAdvice(choose) {
  for (const reason of data.reasons) {
    const button = el("button", { type: "button" }, `Show ${count(reason.count, "device")}`);
    button.addEventListener("click", () => choose({ text: `reason:${reason.code}` }));
    const words = el("div", { className: "words" }, el("p", {}, reason.meaning), el("p", { className: "next" }, reason.next));
    byId("advice").append(el("li", {}, el("b", { className: "mono" }, reason.code), words, button));
  }
  byId("reasons").hidden = !data.reasons.length;
}
