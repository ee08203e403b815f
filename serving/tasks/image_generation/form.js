// A seed and a number, and the images that the model makes of them, in one picture.

let shown = null;

byId("seed").max = facts.max_seed;
byId("count").max = limits.max_samples;
byId("count").value = Math.min(16, limits.max_samples);
byId("count-hint").textContent = `1 to ${whole(limits.max_samples)}`;

onAsk(async (signal) => {
  const seed = Number(byId("seed").value);
  const count = Number(byId("count").value);
  const started = performance.now();
  const picture = await (await ask(facts.route, { body: { seed, count, format: "png" }, signal })).blob();
  const milliseconds = performance.now() - started;
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(picture);
  const grid = byId("grid");
  grid.src = shown;
  grid.alt = `${counted(count, "image")} of seed ${seed}, side by side`;
  await grid.decode();
  // Never smaller than it is, and never so large that a pixel is all that is seen.
  grid.style.setProperty("--width", `${grid.naturalWidth * 4}px`);
  byId("download").href = shown;
  byId("download").download = `${facts.name}-${seed}-${count}.png`;
  byId("result").hidden = false;
  say(`${counted(count, "image")} of seed ${seed}, in ${Math.round(milliseconds)} ms.`);
});

offer((seed) => {
  byId("seed").value = seed;
});

byId("another").addEventListener("click", () => {
  byId("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
  byId("form").requestSubmit();
});
