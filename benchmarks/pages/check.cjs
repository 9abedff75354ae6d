"use strict";
// Opens pages in headless Chromium: WCAG 2.2 A and AA by axe-core at two widths, light and dark; whether every control is
// reached and operated by keyboard; and of a page that is followed, how fast it opens. Prints a JSON line each.

const fs = require("fs");
const puppeteer = require("puppeteer-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const { browser: executablePath, pages, screenshots } = JSON.parse(process.argv[2]);
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"];
const MOST_UNFOLDED = 60;
const SLOW_MS = 900000; // a busy machine
const CONTROLS = ":is(a[href], button, summary, input, select, [tabindex='0']):not(:disabled)";
const say = (told) => console.log(JSON.stringify(told));

async function opened(browser, url, width, scheme) {
  const page = await browser.newPage();
  page.setDefaultTimeout(SLOW_MS);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("console", (message) => { if (message.type() === "error") page.problems.push(message.text()); });
  await page.setViewport({ width, height: 844 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(url, { waitUntil: "load" });
  return page;
}

async function accessibility(browser, { name, url, ready }, width, scheme) {
  const page = await opened(browser, url, width, scheme);
  if (ready) await page.waitForSelector(ready);
  if (screenshots) await page.screenshot({ path: `${screenshots}/${name}-${width}-${scheme}.png` });
  await page.evaluate(() => document.querySelectorAll("details").forEach((each, i) => { if (i < 60) each.open = true; }));
  const world = await page.createCDPSession();
  await world.send("Page.setBypassCSP", { enabled: true });
  await page.evaluate(axe); // by the debugger, which a page's policy does not hold up
  const { violations } = await page.evaluate((values) => axe.run(document, { runOnly: { type: "tag", values } }), TAGS);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  const told = violations.map((found) => `${found.id} x${found.nodes.length}: ${found.nodes[0].html.slice(0, 200)}: ${found.nodes[0].failureSummary.replace(/\s+/g, " ").slice(0, 240)}`);
  say({ check: "accessibility", name, width, scheme, violations: told, overflow: Math.max(0, overflow), problems: page.problems });
  await page.close();
}

async function opening(browser, { name, url, ready }) {
  const began = Date.now();
  const page = await opened(browser, url, 1280, "light");
  await page.waitForSelector(ready);
  const seconds = (Date.now() - began) / 1000;
  const { TaskDuration } = await page.metrics();
  say({ check: "opening", name, seconds, cpu_seconds: TaskDuration });
  return page;
}

async function reached(page) {
  const wanted = await page.$$eval(CONTROLS, (all) => all.filter((each) => each.checkVisibility()).map((each, i) => (each.dataset.control = String(i))));
  const found = new Set();
  for (let i = 0; i < wanted.length + 40; i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => document.activeElement.dataset.control);
    if (at !== undefined) found.add(at);
    if (found.size === wanted.length) break;
  }
  const missed = await page.evaluate((found) => [...document.querySelectorAll("[data-control]")].filter((each) => each.isConnected && !found.includes(each.dataset.control)).map((each) => each.outerHTML.slice(0, 120)), [...found]);
  return { controls: wanted.length, missed };
}

async function watched(page) {
  const pressed = async (selector, key, holds) => {
    await page.focus(selector);
    await page.keyboard.press(key);
    return page.evaluate(holds, selector);
  };
  const operated = {
    "a chart's cursor moves": await pressed(".plot", "Home", (at) => document.querySelector(at).getAttribute("aria-valuenow") === "0"),
    "updates pause": await pressed("#pause", "Enter", (at) => document.querySelector(at).getAttribute("aria-pressed") === "true"),
    "an area opens": await pressed("#areas summary", "Enter", (at) => document.querySelector(at).parentElement.open),
    "an image opens": await pressed(".picture", "Enter", () => document.querySelector("#large").open),
    "and closes": await pressed("#close", "Enter", () => !document.querySelector("#large").open),
  };
  return Object.entries(operated).filter(([, holds]) => !holds).map(([what]) => what);
}

async function unfolded(page) {
  const stuck = [];
  for (const summary of (await page.$$("summary")).slice(0, MOST_UNFOLDED)) {
    if (!(await summary.evaluate((each) => each.checkVisibility()))) continue;
    const before = await summary.evaluate((each) => each.parentElement.open);
    await summary.focus();
    await page.keyboard.press("Enter");
    const [after, what] = await summary.evaluate((each) => [each.parentElement.open, each.textContent.trim().slice(0, 60)]);
    if (after === before) stuck.push(`${what} does not unfold`);
  }
  return stuck;
}

async function keyboard(page, name, operate) {
  say({ check: "keyboard", name, ...(await reached(page)), failed: await operate(page) });
  await page.close();
}

(async () => {
  const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox"], timeout: SLOW_MS, protocolTimeout: SLOW_MS });
  for (const asked of pages) {
    if (asked.ready) await keyboard(await opening(browser, asked), asked.name, watched);
    else await keyboard(await opened(browser, asked.url, 1280, "light"), asked.name, unfolded);
    for (const width of [1280, 390]) for (const scheme of ["light", "dark"]) await accessibility(browser, asked, width, scheme);
  }
  await browser.close();
})().catch((error) => { console.error(error.message); process.exit(2); });
