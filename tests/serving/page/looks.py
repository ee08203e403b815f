"""Scripts that judge how a page looks, run in it."""

# The text and the contrast (WCAG 2.2) of every piece of text that is shown, against what lies behind it. A colour is
# read by painting it, since a mixed one is told in other words.
CONTRAST = """
(() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const painted = (colours) => {
    for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim();
    const parent = walk.currentNode.parentElement;
    if (!text || !parent.checkVisibility() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(parent.tagName)) continue;
    if (parent.closest(":disabled, .unseen")) continue;
    const behind = [];
    for (let one = parent; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
    const ground = painted(["white", ...behind]);
    const ink = painted(["white", ...behind, getComputedStyle(parent).color]);
    const [light, dark] = [luminance(ground), luminance(ink)].sort((one, other) => other - one);
    found.push([text.slice(0, 40), Math.round(100 * (light + 0.05) / (dark + 0.05)) / 100]);
  }
  return found;
})()
"""

# What can be touched and is smaller than 24 pixels; a label makes its box as large as itself.
SMALL = """
[...document.querySelectorAll("button, a, input, select, textarea, summary, canvas[tabindex]")]
  .filter((one) => one.checkVisibility())
  .map((one) => [one, (one.closest("label") ?? one).getBoundingClientRect()])
  .filter(([, box]) => box.width < 24 || box.height < 24)
  .map(([one]) => one.outerHTML.slice(0, 80))
"""

# Ids that two elements have.
DOUBLES = """
[...document.querySelectorAll("[id]")].map((one) => one.id).filter((id, index, ids) => ids.indexOf(id) !== index)
"""
