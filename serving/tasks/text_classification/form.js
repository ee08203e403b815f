// A text, its scores, and which of its words mattered: the service asks the same model again without each of them.

const MOST_LISTED = 8;

byId("text-hint").textContent =
  `At most ${whole(limits.max_text_length)} characters, of which the model reads the first ` +
  `${whole(facts.predictor.max_tokens)} tokens. Ctrl + Enter asks.`;

onAsk(async (signal) => {
  const text = byId("text").value;
  if (!text.trim()) throw new Refusal("Write a text first.");
  const length = [...text].length;
  if (length > limits.max_text_length) {
    throw new Refusal(
      `The text has ${whole(length)} characters; at most ${whole(limits.max_text_length)} are taken. Shorten it.`,
    );
  }
  byId("words").hidden = true;
  const found = await classify({ texts: [text] }, { signal });
  showScores(found);
  if (byId("weigh").checked) await weigh(text, signal);
});

offer((text) => {
  byId("text").value = text;
});

// Asks which words mattered: `pieces` of the text with their effects, which the service counts in whole characters.
async function weigh(text, signal) {
  const response = await ask("/explain", { body: { text }, purpose: "words", signal });
  const found = await response.json();
  const characters = [...text];
  if (!Array.isArray(found?.pieces) || typeof found.label !== "string") {
    throw new Refusal("The service gave an explanation that this page does not know.");
  }
  const weighed = found.pieces.map(({ start, end, effect }) => ({
    start, end, word: characters.slice(start, end).join(""), effect: Number(effect),
  }));
  if (!weighed.length) return;
  showText(characters, weighed);
  showWeights(weighed, found.label);
  const size = found.words_a_piece;
  const apart = size > 1 ? ` The text is long, so ${size} words were left out at a time.` : "";
  byId("words-hint").textContent =
    `By how many points the score of “${found.label}” is lower without the word, asked of this same model.${apart}`;
  byId("words").hidden = false;
}

// The text with its words marked, the more the stronger.
function showText(characters, weighed) {
  const strongest = Math.max(0.05, ...weighed.map(({ effect }) => Math.abs(effect)));
  const parts = [];
  let done = 0;
  for (const { start, end, word, effect } of weighed) {
    const share = Math.abs(effect) / strongest;
    const mark = el("span", { class: share < 0.1 ? null : effect > 0 ? "for" : "against", text: word });
    mark.style.setProperty("--share", share);
    parts.push(characters.slice(done, start).join(""), mark);
    done = end;
  }
  byId("weighed").replaceChildren(...parts, characters.slice(done).join(""));
}

function showWeights(weighed, label) {
  const most = [...weighed].sort((one, other) => Math.abs(other.effect) - Math.abs(one.effect)).slice(0, MOST_LISTED);
  const strongest = Math.max(0.05, ...most.map(({ effect }) => Math.abs(effect)));
  const rows = most.map(({ word, effect }) => {
    const fill = el("span", { class: `fill ${effect < 0 ? "against" : "for"}` });
    fill.style.setProperty("--share", Math.abs(effect) / strongest);
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, el("bdi", { text: word })),
      el("td", { class: "balance", "aria-hidden": "true" }, fill),
      el("td", { class: "share", text: signed(100 * effect) }),
    );
  });
  const head = el(
    "tr",
    {},
    el("th", { scope: "col", text: "Word" }),
    el("td", { "aria-hidden": "true" }),
    el("th", { scope: "col", class: "share", text: "Points" }),
  );
  byId("weights").replaceChildren(
    el("caption", { text: `The strongest for and against “${label}”` }),
    el("thead", {}, head),
    el("tbody", {}, ...rows),
  );
}
