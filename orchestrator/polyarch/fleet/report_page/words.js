"use strict";
// The data, and words for them. Texts of devices only ever become text nodes.
const data = JSON.parse(document.getElementById("data").textContent);
const STATUSES = ["failed", "offline", "skipped", "waiting", "pulled", "up-to-date"];
const SHOWN = ["pulled", "up-to-date", "failed", "offline", "skipped", "waiting"];
const MARKS = { pulled: "✓", "up-to-date": "=", failed: "✕", offline: "○", skipped: "‖", waiting: "…" };
const byId = (id) => document.getElementById(id);
const rows = data.devices.map((values, index) => {
  const row = { index };
  data.columns.forEach((name, i) => { row[name] = values[i]; });
  return row;
});

// An element: `known` holds its properties, and attributes where a name has a dash; null children are left out.
function el(tag, known, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(known || {})) {
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function mark(status) {
  return el("span", { className: `mark ${status}`, "aria-hidden": "true" }, MARKS[status]);
}

function state(status) {
  return el("span", { className: "state" }, mark(status), status);
}

function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many || one + "s"}`;
}

// As docker shows bytes: three digits, powers of 1000.
function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = bytes, unit = 0;
  while (value >= 999.5 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${Number(value.toPrecision(3))} ${units[unit]}`;
}

function took(seconds) {
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60 ? `${whole % 60} s` : ""}`.trim();
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60 ? `${minutes % 60} min` : ""}`.trim();
}

const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const ZONED = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeStyle: "long" });
const HOUR = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

function moment(seconds, format) {
  const date = new Date(seconds * 1000);
  return el("time", { dateTime: date.toISOString(), title: ZONED.format(date) }, format.format(date));
}

function short(digest) {
  return digest ? digest.split(":").pop().slice(0, 12) : "";
}

const images = (row) => data.stacks[row.stack].map((number) => data.images[number]);

// What a device gets: for one image its platform and manifest, for several what they are for.
const variants = data.stacks.map((stack) => {
  const all = stack.map((number) => data.images[number]).filter((image) => image.manifest);
  if (!all.length) return ["", ""];
  const platforms = [...new Set(all.map((image) => image.platform))].join(", ");
  return [platforms, all.length === 1 ? short(all[0].manifest) : count(all.length, "image")];
});
