// Waves on a time axis: a lane a platform, a bar a device. Places along the axis are per cent, so it fits any width.
const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// The times in which something went on, as few intervals that do not touch.
function busyTimes(spans) {
  const merged = [];
  for (const [from, to] of spans.slice().sort((a, b) => a[0] - b[0])) {
    const last = merged[merged.length - 1];
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  const work = merged.reduce((all, [from, to]) => all + to - from, 0) || 1;
  const joined = [];
  for (const span of merged) {
    const last = joined[joined.length - 1];
    if (last && span[0] - last[1] < work / 4) last[1] = span[1];
    else joined.push(span);
  }
  return joined;
}

// A time -> per cent; long times in which nothing went on are cut to a few per cent.
function axis(busy) {
  const work = busy.reduce((all, [from, to]) => all + to - from, 0) || 1;
  const gap = busy.length > 1 ? Math.min(4, 30 / (busy.length - 1)) : 0;
  const scale = (100 - gap * (busy.length - 1)) / work;
  return (time) => {
    let place = 0;
    for (const [i, [from, to]] of busy.entries()) {
      if (time < from) return Math.max(0, place - gap / 2);
      if (time <= to || i === busy.length - 1) return Math.min(100, place + (time - from) * scale);
      place += (to - from) * scale + gap;
    }
    return 100;
  };
}

// Each device gets the first line of its lane that is free.
function packed(devices) {
  const ends = [];
  const placed = devices.sort((a, b) => a.began - b.began).map((row) => {
    let line = ends.findIndex((end) => end <= row.began);
    if (line < 0) line = ends.push(0) - 1;
    ends[line] = row.ended;
    return [row, line];
  });
  return [placed, ends.length];
}

function tickStep(span) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];
  return steps.find((step) => span / step <= 6) || Math.ceil(span / 6 / 86400) * 86400;
}

function drawTimeline(choose) {
  const worked = rows.filter((row) => row.attempts && row.ended >= row.began);
  if (!worked.length) {
    byId("timeline").append("No device was at work.");
    return;
  }
  const busy = busyTimes(worked.map((row) => [row.began, row.ended]));
  const at = axis(busy);
  const lanes = Object.keys(data.totals.platforms).map((name) => [name, ...packed(worked.filter((row) => row.platform === name))])
    .filter(([, placed]) => placed.length);
  const lines = lanes.reduce((all, [, , number]) => all + number, 0);
  const step = Math.max(0.8, Math.min(13, 420 / lines));
  const top = 22, title = 20;
  const height = top + lanes.length * (title + 8) + lines * step;
  const picture = draw("svg", { height: height + 22, role: "img" });
  picture.setAttribute("aria-label",
    `${count(worked.length, "device")} in ${count(data.waves.length || 1, "wave")} over ${took(busy[busy.length - 1][1] - busy[0][0])}; the table below says the same`);
  const hatch = draw("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  hatch.append(draw("rect", { width: 2.5, height: 6, fill: "#000", "fill-opacity": 0.5 }));
  picture.append(hatch);
  drawBands(picture, at, height, top);
  drawTicks(picture, at, busy, height, top);
  let y = top;
  const tops = {};
  for (const [name, placed, number] of lanes) {
    tops[name] = [y, y + title + number * step];
    const stop = data.stops.find(([platform]) => platform === name);
    picture.append(draw("text", { x: 0, y: y + 14, class: "lane" }, stop ? `${name} ■ stopped` : name));
    for (const [row, line] of placed) picture.append(oneDevice(row, at, y + title + line * step, step, choose));
    y += title + number * step + 8;
  }
  for (const [platform, , time] of data.stops) {
    const [from, to] = (platform && tops[platform]) || [top, height];
    const x = at(time);
    picture.append(draw("line", { x1: `${x}%`, x2: `${x}%`, y1: from, y2: to, class: "stop" }));
    if (platform) continue;
    const side = x > 60 ? { dx: -6, "text-anchor": "end" } : { dx: 6 };
    picture.append(draw("text", { x: `${x}%`, y: from - 8, class: "stop-text", ...side }, "■ all stopped"));
  }
  byId("timeline").append(picture);
  byId("timeline-note").textContent = busy.length > 1
    ? "Each bar is a device. Dotted: a time in which nothing went on, drawn short." : "Each bar is a device.";
}

function oneDevice(row, at, y, step, choose) {
  const from = at(row.began);
  const place = {
    x: `${from}%`, width: `${Math.max(at(row.ended) - from, 0.3)}%`, y, height: step > 3 ? step - 2 : step,
    rx: step > 6 ? 2 : 0,
  };
  const bar = draw("g", { class: "one" });
  bar.append(draw("title", {}, `${row.device}: ${row.status}, ${took(row.seconds)}, ${size(row.bytes)}`));
  bar.append(draw("rect", { ...place, class: row.status }));
  if (row.status === "failed") bar.append(draw("rect", { ...place, fill: "url(#hatch)" })); // not by colour alone
  bar.addEventListener("click", () => choose({ text: `device:${row.device}` }));
  return bar;
}

function drawBands(picture, at, height, top) {
  for (const [number, , began, ended] of data.waves) {
    if (!began) continue;
    const from = at(began), to = ended ? at(ended) : 100;
    if (number % 2) picture.append(draw("rect", { x: `${from}%`, width: `${to - from}%`, y: 0, height, class: "band" }));
    const word = to - from > 16 ? `Wave ${number}` : to - from > 3 ? `${number}` : "";
    picture.append(draw("text", { x: `${from}%`, dx: 4, y: top - 8 }, word));
  }
}

function drawTicks(picture, at, busy, height, top) {
  const start = busy[0][0];
  const step = tickStep(busy.reduce((all, [from, to]) => all + to - from, 0));
  let last = -20;
  for (const [i, [from, to]] of busy.entries()) {
    if (i) {
      const x = (at(from) + at(busy[i - 1][1])) / 2;
      picture.append(draw("line", { x1: `${x}%`, x2: `${x}%`, y1: top, y2: height, class: "gap" }));
    }
    for (let time = start + Math.ceil((from - start) / step) * step; time <= to; time += step) {
      const x = at(time);
      if (x - last < 12) continue;
      last = x;
      picture.append(draw("line", { x1: `${x}%`, x2: `${x}%`, y1: top, y2: height + 4, class: "grid" }));
      const anchor = x < 4 ? "start" : x > 92 ? "end" : "middle";
      picture.append(draw("text", { x: `${x}%`, y: height + 18, "text-anchor": anchor }, took(time - start)));
    }
  }
}

function drawWaveTable() {
  const counts = new Map(data.waves.map(([number]) => [number, {}]));
  for (const row of rows) {
    const mine = counts.get(row.wave);
    if (mine) mine[row.status] = (mine[row.status] || 0) + 1;
  }
  const used = SHOWN.filter((status) => data.totals.statuses[status]);
  const left = ["Wave", "Began"];
  const head = ["Wave", "Devices", "Began", "Took", ...used].map((text) => el("th", { scope: "col", className: left.includes(text) ? "" : "number" }, text));
  const body = data.waves.map(([number, devices, began, ended]) => el("tr", {},
    el("th", { scope: "row" }, String(number)),
    el("td", { className: "number" }, devices.toLocaleString("en")),
    el("td", {}, began ? moment(began, HOUR) : "not begun"),
    el("td", { className: "number" }, began && ended ? took(ended - began) : ""),
    ...used.map((status) => el("td", { className: "number" }, String(counts.get(number)[status] || "")))));
  byId("wave-table").append(el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)));
  byId("waves").hidden = !data.waves.length;
}
