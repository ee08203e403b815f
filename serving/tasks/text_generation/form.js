// A prompt, and what the model writes after it, as it comes: server-sent events of POST /generate.

const SETTINGS = ["max_tokens", "temperature", "top_k", "top_p", "seed"];
const REASONS = {
  length: "it is as long as was asked for",
  stop: "it came to a text to stop before",
  end: "the model ended it",
};
let lastSeed = null;

byId("prompt-hint").textContent =
  `At most ${counted(Math.min(limits.max_prompt_tokens, facts.predictor.context - 1), "token")}. Ctrl + Enter asks.`;
byId("max_tokens").max = limits.max_new_tokens;
byId("max_tokens").value = Math.min(120, limits.max_new_tokens);
byId("max_tokens-hint").textContent = `1 to ${whole(limits.max_new_tokens)}`;
byId("seed").max = facts.max_seed;

onAsk(async (signal) => {
  const request = requestOf();
  byId("asked").textContent = request.prompt;
  byId("answer").textContent = "";
  byId("again").hidden = true;
  byId("stop").disabled = false;
  byId("written").setAttribute("aria-busy", "true");
  const started = performance.now();
  try {
    const response = await ask(facts.route, { body: request, signal });
    byId("result").hidden = false;
    say("Writing …");
    const summary = await write(response);
    finish(summary, performance.now() - started);
  } catch (error) {
    if (!signal.aborted) throw error;
    if (running?.signal === signal) say("Stopped.");
  } finally {
    if (running === null || running.signal === signal) {
      byId("stop").disabled = true;
      byId("written").setAttribute("aria-busy", "false");
    }
  }
});

offer((prompt) => {
  byId("prompt").value = prompt;
});

byId("stop").addEventListener("click", () => {
  giveUp();
  byId("prompt").focus();
});

byId("again").addEventListener("click", () => {
  byId("seed").value = lastSeed;
  byId("seed").focus();
});

// What is asked: a setting that is left empty is left to the service.
function requestOf() {
  const request = { prompt: byId("prompt").value, stream: true };
  for (const name of SETTINGS) {
    if (byId(name).value !== "") request[name] = Number(byId(name).value);
  }
  const stop = byId("stop-texts")
    .value.split("\n")
    .filter((line) => line);
  return stop.length ? { ...request, stop } : request;
}

// Puts every piece in as it comes. Gives the last event; Refusal where the answer breaks off before it.
async function write(response) {
  let summary = null;
  for await (const event of eventsOf(response)) {
    if (typeof event.text === "string") byId("answer").append(event.text);
    else summary = event;
  }
  if (!summary) throw new Refusal("The answer broke off. Is the service still running?");
  return summary;
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    let read;
    try {
      read = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal("The answer broke off. Is the service still running?");
    }
    if (read.done) return;
    const events = (held + read.value).split("\n\n");
    held = events.pop();
    for (const event of events) yield JSON.parse(event.replace(/^data: /, ""));
  }
}

function finish(summary, milliseconds) {
  lastSeed = summary.seed;
  byId("again").hidden = false;
  const speed = summary.num_tokens / (milliseconds / 1000);
  const why = REASONS[summary.finish_reason] ?? summary.finish_reason;
  say(`${counted(summary.num_tokens, "token")}, ${Math.round(speed)} a second; ${why}. Seed ${summary.seed}.`);
}
