// An array of numbers, pasted; or a picture, drawn or uploaded, as grey levels from 0 for black to 255.

const shape = facts.predictor.shape;
const isPicture = shape.length === 2;
const numValues = shape.reduce((product, side) => product * side, 1);

byId("picture").hidden = !isPicture;
byId("numbers").hidden = isPicture;
byId("random").hidden = isPicture;

const source = isPicture ? pictureSource(...shape) : numberSource();

onAsk(async (signal) => {
  const array = source.read();
  showScores(await classify({ arrays: [array] }, { signal }));
});

offer((array) => source.put(array));

byId("clear").addEventListener("click", () => {
  giveUp();
  source.clear();
  byId("result").hidden = true;
  byId("error").textContent = "";
  say("Cleared.");
});

// Numbers as JSON, or parted by commas, white space or semicolons.
function numberSource() {
  const field = byId("array");
  const count = () => {
    const given = entriesOf(field.value).length;
    byId("array-hint").textContent =
      `${whole(given)} of ${counted(numValues, "number")}, parted by commas or space. Ctrl + Enter asks.`;
  };
  field.addEventListener("input", count);
  byId("random").addEventListener("click", () => {
    // Around what the model was told is 0, as far as it was told is 1: no row of anyone's.
    const { offset, scale } = facts.predictor;
    const random = Array.from({ length: numValues }, () => (offset + scale * normal()).toPrecision(4));
    field.value = random.join(", ");
    count();
    say("Filled with random numbers, which are no real row.");
  });
  count();
  return {
    read() {
      const entries = entriesOf(field.value);
      const wrong = entries.findIndex((entry) => !Number.isFinite(Number(entry)));
      if (wrong >= 0) throw new Refusal(`Entry ${wrong + 1} is “${entries[wrong].slice(0, 40)}”, which is no number.`);
      if (entries.length !== numValues) {
        throw new Refusal(`There are ${counted(entries.length, "number")}; the model takes ${whole(numValues)}.`);
      }
      return entries.map(Number);
    },
    put(array) {
      field.value = array.join(", ");
      count();
    },
    clear() {
      field.value = "";
      count();
      field.focus();
    },
  };
}

function entriesOf(text) {
  return text
    .replace(/[[\]]/g, " ")
    .split(/[\s,;]+/)
    .filter((entry) => entry);
}

// Box and Muller (1958): a number of the standard normal distribution.
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

// A board to draw on. Strokes are kept as lines, in pixels of the model, so that fitting them blurs nothing.
function pictureSource(height, width) {
  const ZOOM = Math.max(1, Math.round(320 / Math.max(height, width)));
  const RADIUS = Math.max(0.5, Math.min(height, width) / 25); // of the pen: MNIST's strokes are about 2 of 28 wide
  const board = byId("board");
  const seen = byId("seen");
  const cursor = { x: width / 2, y: height / 2, down: false };
  let strokes = [];
  let upload = null; // grey levels of a picture that was uploaded, or of an example
  [board.width, board.height, seen.width, seen.height] = [width * ZOOM, height * ZOOM, width, height];
  board.setAttribute("aria-label", `Drawing board, ${width} by ${height} pixels`);
  board.style.setProperty("--ratio", width / height);
  seen.style.setProperty("--ratio", width / height);

  function levels() {
    const base = upload ? upload.map((level) => (byId("invert").checked ? 255 - level : level)) : null;
    const lines = byId("fit").checked && !upload ? fitted(strokes, { height, width, radius: RADIUS }) : strokes;
    const drawn = rastered(lines, { height, width, radius: RADIUS });
    return drawn.map((level, index) => Math.round(Math.max(level, base?.[index] ?? 0)));
  }

  function show() {
    const found = levels();
    seen.getContext("2d").putImageData(imageOf(found, width, height), 0, 0);
    const pen = board.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "black";
    pen.fillRect(0, 0, board.width, board.height);
    if (upload) {
      pen.imageSmoothingEnabled = false;
      pen.drawImage(seen, 0, 0, board.width, board.height);
    }
    pen.scale(ZOOM, ZOOM);
    pen.strokeStyle = "white";
    pen.lineWidth = 2 * RADIUS;
    pen.lineCap = pen.lineJoin = "round";
    for (const stroke of strokes) {
      pen.beginPath();
      pen.moveTo(stroke[0].x, stroke[0].y);
      for (const { x, y } of stroke) pen.lineTo(x, y);
      pen.stroke();
    }
    if (document.activeElement === board && board.matches(":focus-visible")) {
      pen.strokeStyle = cursor.down ? "#ff8c42" : "#5aa9ff";
      pen.lineWidth = 3 / ZOOM;
      pen.strokeRect(cursor.x - 1, cursor.y - 1, 2, 2);
    }
  }

  const at = (event) => {
    const box = board.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * width,
      y: ((event.clientY - box.top) / box.height) * height,
    };
  };

  board.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    board.setPointerCapture(event.pointerId);
    strokes.push([at(event)]);
    show();
  });
  board.addEventListener("pointermove", (event) => {
    if (!board.hasPointerCapture(event.pointerId)) return;
    strokes.at(-1).push(at(event));
    show();
  });

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  board.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in STEPS) {
      const [dx, dy] = STEPS[event.key];
      cursor.x = Math.min(width, Math.max(0, cursor.x + dx));
      cursor.y = Math.min(height, Math.max(0, cursor.y + dy));
      if (cursor.down) strokes.at(-1).push({ x: cursor.x, y: cursor.y });
    } else if (event.key === " ") {
      cursor.down = !cursor.down;
      if (cursor.down) strokes.push([{ x: cursor.x, y: cursor.y }]);
      say(`Pen ${cursor.down ? "down" : "up"} at ${Math.round(cursor.x)} across, ${Math.round(cursor.y)} down.`);
    } else if (event.key === "Backspace") {
      cursor.down = false;
      strokes.pop();
      say("The last stroke is gone.");
    } else {
      return;
    }
    event.preventDefault();
    show();
  });
  board.addEventListener("focus", show);
  board.addEventListener("blur", () => {
    cursor.down = false;
    show();
  });
  byId("fit").addEventListener("change", show);
  byId("invert").addEventListener("change", show);
  byId("upload").addEventListener("change", async () => {
    const [file] = byId("upload").files;
    if (!file) return;
    byId("error").textContent = "";
    try {
      upload = await levelsOf(file, height, width);
      strokes = [];
      say("The picture is on the board.");
    } catch {
      complain(new Refusal(`“${file.name}” cannot be read as a picture. Upload a PNG or a JPEG.`));
    }
    show();
  });
  show();
  return {
    read() {
      const found = levels();
      if (!upload && !strokes.length) throw new Refusal("Draw or upload a picture first.");
      return found;
    },
    put(array) {
      [strokes, upload, cursor.down, byId("upload").value] = [[], array, false, ""];
      byId("invert").checked = false;
      show();
    },
    clear() {
      [strokes, upload, cursor.down, byId("upload").value] = [[], null, false, ""];
      show();
    },
  };
}

// Grey levels of strokes: a pixel is as light as its middle is covered by the pen, with an edge of one pixel.
function rastered(strokes, { height, width, radius }) {
  const levels = new Array(height * width).fill(0);
  const reach = radius + 0.5;
  for (const stroke of strokes) {
    for (let index = 0; index < stroke.length; index += 1) {
      const [from, to] = [stroke[Math.max(0, index - 1)], stroke[index]];
      const [left, right] = [Math.min(from.x, to.x) - reach, Math.max(from.x, to.x) + reach];
      const [top, bottom] = [Math.min(from.y, to.y) - reach, Math.max(from.y, to.y) + reach];
      for (let y = Math.max(0, Math.floor(top)); y < Math.min(height, bottom); y += 1) {
        for (let x = Math.max(0, Math.floor(left)); x < Math.min(width, right); x += 1) {
          const cover = Math.min(1, reach - distance({ x: x + 0.5, y: y + 0.5 }, from, to));
          levels[y * width + x] = Math.max(levels[y * width + x], 255 * cover);
        }
      }
    }
  }
  return levels;
}

// From a point to the line between two others.
function distance(point, from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  const along = length ? Math.min(1, Math.max(0, ((point.x - from.x) * dx + (point.y - from.y) * dy) / length)) : 0;
  return Math.hypot(point.x - from.x - along * dx, point.y - from.y - along * dy);
}

// Strokes as MNIST's digits were made (LeCun et al. 1998): 20 of 28 pixels at their longest, the middle of their ink in
// the middle of the picture, as far as no ink leaves it.
function fitted(strokes, { height, width, radius }) {
  const points = strokes.flat();
  if (!points.length) return strokes;
  const bounds = (key) => [
    Math.min(...points.map((point) => point[key])),
    Math.max(...points.map((point) => point[key])),
  ];
  const [[left, right], [top, bottom]] = [bounds("x"), bounds("y")];
  const longest = Math.max(right - left, bottom - top);
  const wanted = (20 / 28) * Math.min(height, width) - 2 * radius;
  const scale = longest > 0 && wanted > 0 ? wanted / longest : 1;
  const moved = (dx, dy, by) => (stroke) => stroke.map(({ x, y }) => ({ x: x * by + dx, y: y * by + dy }));
  const [midX, midY] = [((left + right) / 2) * scale, ((top + bottom) / 2) * scale];
  const centred = strokes.map(moved(width / 2 - midX, height / 2 - midY, scale));
  let [ink, sumX, sumY] = [0, 0, 0];
  rastered(centred, { height, width, radius }).forEach((level, index) => {
    ink += level;
    sumX += level * ((index % width) + 0.5);
    sumY += level * (Math.floor(index / width) + 0.5);
  });
  if (!ink) return centred;
  const within = (shift, side, extent) => {
    const room = Math.max(0, side / 2 - radius - (extent * scale) / 2);
    return Math.min(room, Math.max(-room, shift));
  };
  const dx = within(width / 2 - sumX / ink, width, right - left);
  return centred.map(moved(dx, within(height / 2 - sumY / ink, height, bottom - top), 1));
}

// Grey levels of a file's picture, whole and as large as fits; colours by their luminance, as serving/images.py has it.
async function levelsOf(file, height, width) {
  const picture = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const canvas = el("canvas", { width, height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "black";
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  const scale = Math.min(width / picture.width, height / picture.height);
  const [w, h] = [picture.width * scale, picture.height * scale];
  pen.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
  picture.close();
  const { data } = pen.getImageData(0, 0, width, height);
  return Array.from({ length: height * width }, (_, index) => {
    const [red, green, blue] = data.subarray(4 * index, 4 * index + 3);
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  });
}

function imageOf(levels, width, height) {
  const image = new ImageData(width, height);
  levels.forEach((level, index) => image.data.set([level, level, level, 255], 4 * index));
  return image;
}
