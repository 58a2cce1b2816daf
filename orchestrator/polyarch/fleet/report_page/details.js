// What an open row shows: all that is known of a device, and each of its images.
function fact(title, value, whole) {
  if (value === null || value === undefined || value === "") return null;
  return el("div", { className: whole ? "whole" : "" }, el("dt", {}, title), el("dd", {}, value));
}

const code = (text) => (text ? el("code", {}, text) : null);

function times(row) {
  if (!row.attempts) return null;
  const tries = row.attempts > 1 ? `, ${row.attempts} attempts` : "";
  return el("span", {}, moment(row.began, DAY), row.ended ? ` – ${HOUR.format(new Date(row.ended * 1000))}${tries}` : "");
}

function disk(row) {
  if (row.disk_free === null) return null;
  return row.disk_needed ? `some ${size(row.disk_needed)} needed, ${size(row.disk_free)} free before` : `${size(row.disk_free)} free`;
}

function deviceDetails(row) {
  const known = data.reasons.find((reason) => reason.code === row.code);
  return [
    el("dl", { className: "facts" },
      fact("Error", row.error, true),
      fact("What to do", known && known.next, true),
      fact("Plan", `${row.verdict}: ${row.reason}`, true),
      fact("Platform", row.override ? `${row.platform}; ${row.override} was asked for instead` : row.platform),
      fact("Time", times(row)),
      fact("Disk", disk(row))),
    ...images(row).map(imageDetails),
  ];
}

function imageDetails(image) {
  const match = image.match && (image.emulator ? `${image.match}, by ${image.emulator}` : image.match);
  const variant = image.platform && el("span", {}, code(image.platform), ` ${match || ""}${image.unproven ? ", unproven" : ""}`);
  const missing = image.present ? "nothing: it was there" : image.manifest && size(image.missing_bytes);
  return el("article", { className: "image" },
    el("h3", {}, el("span", {}, image.reference), image.status && state(image.status), image.code && code(image.code)),
    el("dl", { className: "facts" },
      fact("Error", image.error, true),
      fact("Remark", image.reason, true),
      fact("Variant", variant),
      fact("Missing before", missing),
      fact("Manifest of the variant", code(image.manifest), true),
      fact("The name stands for", image.digest !== image.manifest ? code(image.digest) : null, true),
      fact("At hand on the device (config or manifest)", code(image.at_hand), true)));
}
