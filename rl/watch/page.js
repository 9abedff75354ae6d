"use strict";
// Asks for the run's state again and again and draws it. What a reader is looking at stays: newer groups wait for a
// button, charts and open details go on.

const EVERY_MS = 3000;
const CHARTS = new Map();
const AREAS = new Map();
let version = "", shownGroups = "", isPaused = false, lastHow = "";

async function ask(path) {
  const reply = await fetch(path, { cache: "no-store" });
  if (!reply.ok) throw new Error(await reply.text());
  return reply.json();
}

function put(id, ...children) {
  byId(id).replaceChildren(...children.flat().filter((child) => child != null));
}

function table(caption, columns, rows) {
  const head = make("tr", "", columns.map((column) => Object.assign(make("th", "", column), { scope: "col" })));
  const body = rows.map(([name, ...cells]) => make("tr", "", Object.assign(make("th", "", name), { scope: "row" }), cells.map((cell) => make("td", "", cell))));
  const box = make("div", "scroll", make("table", "", make("caption", "", caption), make("thead", "", head), make("tbody", "", body)));
  box.tabIndex = 0; // a region that scrolls is reached by keyboard, too
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", visible(caption));
  return box;
}

function lasting(seconds) {
  if (seconds == null) return "–";
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return minutes < 90 ? `${minutes} min` : `${short(seconds / 3600, 1)} h`;
}

// ---- parts -------------------------------------------------------------------------------------------------------

function drawHead(state) {
  document.title = visible(`${state.name}: ${state.how}`);
  byId("name").textContent = visible(state.name);
  byId("folder").textContent = visible(state.folder);
  byId("how").textContent = visible(state.how);
  byId("how").className = `badge ${{ running: "good", finished: "good", preempted: "warn", interrupted: "warn" }[state.how] || (state.how === "ended" || state.how === "not begun" ? "" : "bad")}`;
  const { done, all } = state.steps;
  const left = state.cost && state.cost.seconds_left != null ? `, about ${lasting(state.cost.seconds_left)} left` : "";
  byId("progress").textContent = `step ${done.toLocaleString("en")}${all ? ` of ${all.toLocaleString("en")}` : ""}${state.phase ? `, ${state.phase}` : left}`;
  byId("bar").hidden = !all;
  if (all) byId("bar").firstElementChild.style.width = `${Math.min(100, (100 * done) / all)}%`;
  const why = state.is_alive ? `held by ${state.why}` : state.why || "";
  byId("why").textContent = visible(why + (state.ended ? `${why ? "; " : ""}ended ${new Date(state.ended * 1000).toLocaleString()}` : ""));
  byId("alerts").hidden = !state.alerts.length;
  byId("alerts").textContent = visible(`alerts at the last step: ${state.alerts.map((name) => name.replaceAll("_", " ")).join(", ")}`);
  const age = state.last_row ? `last row ${lasting(Math.max(0, state.now - state.last_row))} ago` : "no rows yet";
  byId("fresh").textContent = `${age}${state.is_alive ? `; asked every ${EVERY_MS / 1000} s` : ""}`;
  if (lastHow !== state.how) byId("told").textContent = visible(`${state.name} is ${state.how}`);
  lastHow = state.how;
}

function drawEvaluations({ figures, during_step }) {
  const rows = Object.entries(figures).map(([name, values]) => [name.replaceAll("_", " "), ...values.map((value) => short(value))]);
  byId("held-out").hidden = !rows.length;
  const during = during_step == null ? "during" : `at step ${during_step}`;
  if (rows.length) put("evaluations", table("Evaluations on tasks that are not trained on", ["figure", "before", during, "after"], rows));
}

function drawCost(cost) {
  if (!cost) return put("cost", make("p", "dim", "adding up …"));
  const rows = Object.entries(cost.so_far).map(([name, value]) => [name, told(value), told(cost.at_end[name])]);
  const note = "At the end: at the pace and the price of the newest 20 steps. Hours are those of steps; the start and the evaluations before and after are in none. Dollars are what services were paid, by the recipe's prices.";
  put("cost", table("So far, and estimated at the end", ["", "so far", "at the end"], rows), make("p", "dim", note));
}

function drawWaits(waits) {
  if (!waits.step) return put("waiting", make("p", "dim", "no step was done yet"));
  const stages = Object.entries(waits.stages).map(([name, value]) => [name, `${told(value)} s`, `${short((100 * value) / waits.step, 0)} %`]);
  const idle = Object.entries(waits.idle).map(([name, value]) => [name, `${short(100 * value, 0)} %`]);
  const journey = Object.entries(waits.journey).map(([name, values]) => [name, ...values.map((value) => `${told(value)} s`)]);
  put("waiting", waits.sentence ? make("p", "", waits.sentence) : null, make("div", "tables",
    table(`A step of ${told(waits.step)} s: the mean of the newest ${waits.num_steps}; saving is in part beside it`, ["part", "seconds", "share"], stages),
    idle.length ? table("Share of that time in which each had nothing to do", ["part", "idle"], idle) : null,
    journey.length ? table("One sample's way, of which many are under way at once", ["part", "mean", "median", "95th percentile"], journey) : null));
}

function drawFailures(failures) {
  if (!failures) return put("failed", make("p", "dim", "adding up …"));
  const share = (count) => (failures.samples ? `${short((100 * count) / failures.samples, 2)} %` : "–");
  const counted = (caption, rows) => (rows.length ? table(caption, ["", "in all", "newest 20 steps", "of all samples"], rows.map((row) => [row.name, told(row.total), told(row.recent), share(row.total)])) : null);
  const tables = [counted("Samples that failed, by stage", failures.stages), counted("Faults of services, most of which were tried again", failures.faults), counted("Answers that do not parse, by what is wrong", failures.unparsable)];
  put("failed", failures.stages.length ? null : make("p", "", failures.samples ? `None of ${told(failures.samples)} samples failed.` : "No step has brought samples yet."), make("div", "tables", tables));
}

// ---- further metrics and groups ----------------------------------------------------------------------------------

function drawAreas(areas) {
  for (const [area, number] of Object.entries(areas).sort()) {
    if (!AREAS.has(area)) {
      const place = make("div", "charts");
      const details = make("details", "", make("summary", "", `${area} (${number})`), place);
      details.addEventListener("toggle", () => drawArea(area));
      AREAS.set(area, { details, place, held: new Map() });
      byId("areas").append(details);
    } else drawArea(area);
  }
}

async function drawArea(area) {
  const { details, place, held } = AREAS.get(area);
  if (details.open) drawCharts(place, held, await ask(`family?area=${encodeURIComponent(area)}`), "h3");
}

async function drawGroups() {
  const found = await ask("groups");
  shownGroups = found.version;
  byId("newer").hidden = true;
  put("newest", found.groups.length ? found.groups.map((of, i) => group(of, i + 1)) : make("p", "dim", "no group is in the ledger yet"));
}

// ---- going on ----------------------------------------------------------------------------------------------------

async function look() {
  const data = await ask(`data?since=${encodeURIComponent(version)}`);
  const { state } = data;
  drawHead(state);
  if (data.charts) {
    drawCharts(byId("charts"), CHARTS, data.charts, "h3");
    byId("curves-note").textContent = data.charts.length ? "" : "There are none yet.";
    drawEvaluations(state.evaluations);
    drawCost(state.cost);
    drawWaits(state.waits);
    drawFailures(state.failures);
    drawAreas(data.areas);
  }
  version = data.version;
  if (!shownGroups) await drawGroups();
  byId("newer").hidden = shownGroups === data.groups_version;
}

async function keepLooking() {
  if (!isPaused && !document.hidden) {
    try {
      await look();
    } catch (error) {
      byId("fresh").textContent = visible(`no answer: ${error.message}; is the command still running?`);
    }
  }
  setTimeout(keepLooking, EVERY_MS);
}

byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
});
byId("newer").addEventListener("click", async () => {
  await drawGroups();
  byId("groups").querySelector("h2").tabIndex = -1;
  byId("groups").querySelector("h2").focus();
});
byId("close").addEventListener("click", () => byId("large").close());
document.addEventListener("visibilitychange", () => { if (!document.hidden && !isPaused) look().catch(() => {}); });
keepLooking();
