// An array of numbers, and how probable the positive label of it is.

const [, positive] = facts.predictor.labels;
const numValues = facts.predictor.shape.reduce((product, side) => product * side, 1);

byId("array-hint").textContent = `${counted(numValues, "number")}, parted by commas or space. Ctrl + Enter asks.`;

onAsk(async (signal) => {
  const entries = byId("array").value.split(/[\s,;]+/).filter(Boolean);
  const wrong = entries.find((entry) => !Number.isFinite(Number(entry)));
  if (wrong !== undefined) throw new Refusal(`“${wrong.slice(0, 40)}” is no number.`);
  if (entries.length !== numValues) {
    throw new Refusal(`There are ${counted(entries.length, "number")}; the model takes ${whole(numValues)}.`);
  }
  const response = await ask(facts.route, { body: { arrays: [entries.map(Number)] }, signal });
  const [answer] = await response.json();
  if (typeof answer?.probability !== "number") {
    throw new Refusal("The service gave an answer that this page does not know.");
  }
  byId("scores").replaceChildren(barred(positive, answer.probability, percent(answer.probability), { chosen: true }));
  byId("result").hidden = false;
  say(`${positive}: ${percent(answer.probability)}.`);
});

offer((array) => {
  byId("array").value = array.join(", ");
});
