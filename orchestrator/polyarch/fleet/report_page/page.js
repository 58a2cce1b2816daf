// The page: all parts together, dark and light.
function drawLede() {
  const { totals } = data;
  const lede = byId("lede");
  lede.append(moment(data.began, ZONED));
  const phases = { running: "still running", "broken-off": "broken off", cancelled: "ended from here before its end" };
  const said = [data.ended ? `took ${took(totals.seconds)}` : "", phases[data.phase] || ""];
  if (data.waves.length) said.push(count(data.waves.length, "wave") + (data.waves.length > 1 ? ` (${data.batch})` : ""));
  if (data.max_fail) said.push(`stops at more than ${data.max_fail} failures`);
  lede.append(said.filter(Boolean).map((one) => ` · ${one}`).join(""));
  const names = [...new Set(data.images.map((image) => image.reference))].sort(text.compare);
  byId("wanted").append(...names.slice(0, 12).map((name) => el("li", {}, el("code", {}, name))));
  if (names.length > 12) byId("wanted").append(el("li", {}, `and ${names.length - 12} more`));
  byId("id").textContent = data.id;
  byId("foot").append(`Written by polyarch ${data.version}. This page loads nothing from anywhere.`);
}

function setUpTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = byId("theme");
  let chosen = null;
  const show = () => {
    const theme = chosen || (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Change to ${theme === "dark" ? "light" : "dark"} colours`);
  };
  dark.addEventListener("change", show);
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    show();
  });
  show();
}

setUpTheme();
drawLede();
drawStops();
drawStatuses(choose);
drawPlatforms(choose);
drawBytes();
drawTimeline(choose);
drawWaveTable();
drawAdvice(choose);
setUpTable();
