"use strict";
// What every task's page shares: asking the service, and saying what came of it. Text of the model or of a user is only
// ever put in as text: nothing here, and by the page's policy nothing at all, makes HTML of a string.

const byId = (id) => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent);
const limits = facts.limits;

// An element with attributes (`class`, `text`, `id`, …) and children, which are elements or text.
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const whole = (number) => number.toLocaleString("en");
const figure = (number, digits = 4) => {
  const isLong = Math.abs(number) < 1000 && !Number.isInteger(number);
  return (isLong ? String(Number(number.toPrecision(digits))) : whole(Math.round(number) + 0)).replace("-", "−");
};
// With a sign, as typographers write it; what is rounded to 0 has none.
const signed = (number, digits = 1) => {
  const size = Math.abs(number).toFixed(digits);
  return Number(size) === 0 ? size : `${number < 0 ? "−" : "+"}${size}`;
};
const percent = (share) => {
  const points = 100 * share;
  if (share > 0 && points < 0.05) return "< 0.1 %";
  return share < 1 && points >= 99.95 ? "> 99.9 %" : `${points.toFixed(1)} %`;
};
const worded = (name) => String(name).replaceAll("_", " ");
const counted = (number, one) => `${whole(number)} ${one}${number === 1 ? "" : "s"}`;

// What the service says against a request, in words.
class Refusal extends Error {}

// Why is asked, where that is not to be told of what users ask.
let because;

// Asks this service. Gives its response; Refusal where it is not one of success.
async function ask(route, { body, purpose = because, signal } = {}) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (purpose !== undefined) headers["modelyard-purpose"] = purpose;
  if (byId("key").value) headers.authorization = `Bearer ${byId("key").value}`;
  const method = body === undefined ? "GET" : "POST";
  let response;
  try {
    response = await fetch(`.${route}`, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The service cannot be reached. Is it still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const text = await response.text();
  let said = "";
  try {
    said = JSON.parse(text).error;
  } catch {
    // no JSON: then the status has to do
  }
  if (typeof said !== "string" || !said) said = `it answered with status ${response.status} and no reason`;
  if (response.status === 401 || response.status === 403) byId("key-row").hidden = false;
  const again = Number(response.headers.get("retry-after"));
  const wait = again > 0 ? ` Try again in ${counted(again, "second")}.` : "";
  const found = new Refusal(`${/^5|^429/.test(response.status) ? "No answer" : "Refused"}: ${said}.${wait}`);
  found.status = response.status;
  return found;
}

function say(status) {
  byId("status").textContent = status;
}

const inWords = (error) => (error instanceof Refusal ? error.message : `This page failed: ${error.message ?? error}`);

function complain(error) {
  byId("error").textContent = inWords(error);
  say("");
}

// Runs `work(signal)` each time that the form is sent. What was still running is given up.
let running = null;
function onAsk(work) {
  byId("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    running?.abort();
    const mine = new AbortController();
    running = mine;
    byId("error").textContent = "";
    byId("form").setAttribute("aria-busy", "true");
    say("Asking …");
    try {
      await work(mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) complain(error);
    } finally {
      if (running === mine) {
        running = null;
        byId("form").setAttribute("aria-busy", "false");
      }
    }
  });
}

// A button for each example: `use` puts it into the form, which is then sent.
function offer(use) {
  const buttons = facts.examples.map(({ name, value }) => {
    const button = el("button", { type: "button" }, el("bdi", { text: name }));
    button.addEventListener("click", () => {
      use(value);
      because = "example";
      byId("form").requestSubmit();
      because = undefined;
    });
    return button;
  });
  byId("examples").append(...buttons);
  byId("examples").hidden = !buttons.length;
}

function giveUp() {
  running?.abort();
}

// Ctrl + Enter, or Cmd + Enter, sends the form from a field of many lines.
for (const field of document.querySelectorAll("textarea")) {
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      byId("form").requestSubmit();
    }
  });
}

// Asks a classifier for the answers to some rows. Refusal where they are not what is expected.
async function classify(body, { purpose, signal }) {
  const started = performance.now();
  const response = await ask(facts.route, { body, purpose, signal });
  const answers = await response.json();
  const [rows] = Object.values(body);
  const isAnswer = (one) =>
    typeof one?.label === "string" &&
    typeof one.scores === "object" &&
    one.scores !== null &&
    ["boolean", "undefined"].includes(typeof one.abstain);
  if (!Array.isArray(answers) || answers.length !== rows.length || !answers.every(isAnswer)) {
    throw new Refusal("The service gave an answer that this page does not know.");
  }
  return { answers, id: response.headers.get("x-request-id"), milliseconds: performance.now() - started };
}

// One line of a list of bars. The bar only repeats what the words say.
function barred(name, share, said, { chosen = false } = {}) {
  const fill = el("span", { class: "fill" });
  fill.style.setProperty("--share", Math.min(1, Math.max(0, share)));
  return el(
    "li",
    { class: chosen ? "chosen" : null },
    el("bdi", { class: "label", text: name }),
    el("span", { class: "bar", "aria-hidden": "true" }, fill),
    el("span", { class: "share", text: said }),
  );
}

// The scores of one answer as bars, the highest first; below them, where the answer does not count, that it does not.
const MOST_SCORES = 10;
function showScores({ answers: [answer], id, milliseconds }) {
  const scores = Object.entries(answer.scores).sort(([, one], [, other]) => other - one);
  const lines = scores
    .slice(0, MOST_SCORES)
    .map(([label, score]) => barred(label, score, percent(score), { chosen: label === answer.label }));
  const rest = scores.slice(MOST_SCORES);
  if (rest.length) {
    const sum = rest.reduce((total, [, score]) => total + score, 0);
    lines.push(el("li", { class: "rest", text: `${counted(rest.length, "other label")}, ${percent(sum)} together` }));
  }
  const found = `${answer.label}, ${percent(answer.scores[answer.label] ?? scores[0][1])}`;
  if (answer.abstain) {
    lines.push(el("li", { class: "rest", text: "I do not know: no score is high enough for this model to answer." }));
  }
  byId("scores").replaceChildren(...lines);
  byId("result").hidden = false;
  askFeedback({ id, label: answer.label });
  say(`${answer.abstain ? `I do not know (${found})` : found}, in ${Math.round(milliseconds)} ms.`);
}
