// What was right, told by who asked: POST /feedback, joined to the answer by its X-Request-Id. It is asked for where GET
// /status says that the service keeps it, and of the answer that is shown: what the page asks of its own is never judged.

const MOST_BUTTONS = 10;
let isTaken = false;
let judged = null; // the request's id and the label of the answer that is shown

function takeFeedback(log) {
  isTaken = Boolean(log) && log.state !== "off";
  showFeedback();
}

// Only a classifier's page has a place for it.
function showFeedback() {
  byId("feedback")?.toggleAttribute("hidden", !isTaken || !judged?.id);
}

function askFeedback(answered) {
  judged = answered;
  const others = facts.predictor.labels.filter((label) => label !== judged.label);
  byId("right").replaceChildren("Yes, ", el("bdi", { text: judged.label }));
  byId("wrong").replaceChildren(
    el("span", { id: "wrong-title", text: "No, it is" }),
    ...(others.length <= MOST_BUTTONS ? buttonsOf(others) : choiceOf(others)),
  );
  note("");
  showFeedback();
}

function buttonsOf(labels) {
  return labels.map((label) => {
    const button = el("button", { type: "button" }, el("bdi", { text: label }));
    button.addEventListener("click", () => tell(label));
    return button;
  });
}

// Many labels are a list, and a button: an arrow key in a list must not send anything.
function choiceOf(labels) {
  const options = labels.map((label) => el("option", { value: label, text: label }));
  const list = el("select", { "aria-labelledby": "wrong-title" }, el("option", { value: "", text: "Choose" }), ...options);
  const button = el("button", { type: "button", text: "Send" });
  button.addEventListener("click", () => {
    if (list.selectedIndex) tell(list.value);
    else note("Choose what it is first.");
  });
  return [list, button];
}

async function tell(label) {
  const mine = judged;
  note("Sending …");
  let said = `Noted: ${label}. Thank you.`;
  let isFault = false;
  try {
    await ask("/feedback", { body: { request_id: mine.id, label } });
  } catch (error) {
    said = `Not noted. ${error.status === 403 ? "This key may ask, but not give feedback." : inWords(error)}`;
    isFault = true;
  }
  if (judged === mine) note(said, { isFault });
}

function note(said, { isFault = false } = {}) {
  byId("noted").className = isFault ? "error" : "status";
  byId("noted").textContent = said;
}

byId("right")?.addEventListener("click", () => tell(judged.label));
byId("form").addEventListener("submit", () => {
  judged = null;
  showFeedback();
});
