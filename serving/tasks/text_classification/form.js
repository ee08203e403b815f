// A text, its scores, and which of its words mattered: the same model is asked again without each of them, all in one
// request. More words than a request may have texts are left out some at a time.

const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
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
  if (byId("weigh").checked) await weigh(text, found.answers[0], signal);
});

offer((text) => {
  byId("text").value = text;
});

async function weigh(text, answer, signal) {
  const pieces = grouped(wordsOf(text), limits.max_texts);
  if (!pieces.length) return;
  const texts = pieces.map(({ start, end }) => text.slice(0, start) + text.slice(end));
  const { answers } = await classify({ texts }, { purpose: "words", signal });
  const weighed = pieces.map((piece, index) => ({
    ...piece,
    word: text.slice(piece.start, piece.end),
    effect: answer.scores[answer.label] - (answers[index].scores[answer.label] ?? 0),
  }));
  showText(text, weighed);
  showWeights(weighed, answer.label);
  const size = pieces[0].size;
  const apart = size > 1 ? ` The text is long, so ${size} words were left out at a time.` : "";
  byId("words-hint").textContent =
    `By how many points the score of “${answer.label}” is lower without the word, asked of this same model.${apart}`;
  byId("words").hidden = false;
}

// Where each word begins and ends; marks such as “!” count as words, white space does not.
function wordsOf(text) {
  const found = [];
  for (const { segment, index } of segmenter.segment(text)) {
    if (segment.trim()) found.push({ start: index, end: index + segment.length });
  }
  return found;
}

// Neighbours together, as few as give at most `most` pieces.
function grouped(words, most) {
  const size = Math.max(1, Math.ceil(words.length / most));
  const pieces = [];
  for (let first = 0; first < words.length; first += size) {
    const last = Math.min(first + size, words.length) - 1;
    pieces.push({ start: words[first].start, end: words[last].end, size });
  }
  return pieces;
}

// The text with its words marked, the more the stronger.
function showText(text, weighed) {
  const strongest = Math.max(0.05, ...weighed.map(({ effect }) => Math.abs(effect)));
  const parts = [];
  let done = 0;
  for (const { start, end, word, effect } of weighed) {
    const share = Math.abs(effect) / strongest;
    const mark = el("span", { class: share < 0.1 ? null : effect > 0 ? "for" : "against", text: word });
    mark.style.setProperty("--share", share);
    parts.push(text.slice(done, start), mark);
    done = end;
  }
  byId("weighed").replaceChildren(...parts, text.slice(done));
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
