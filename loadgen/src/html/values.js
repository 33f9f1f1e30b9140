"use strict";
// Shows the values under the pointer. The page says the same without it: in its tables.
for (const drawing of document.querySelectorAll("svg[data-across]")) {
  const { across, end, left, right } = drawing.dataset;
  const [last, low, high] = [end, left, right].map(Number);
  const output = drawing.parentNode.querySelector("output");
  const rule = drawing.querySelector(".rule");
  const lines = [...drawing.querySelectorAll("path[data-values]")].map((path) => ({
    label: path.dataset.label,
    pieces: path.dataset.values.split("|").map((piece) => piece.split(";").map((pair) => pair.split(" ").map(Number))),
  }));
  const where = (x) => across === "time" ? x.toFixed(1) + " s" : (100 - 100 * 10 ** -x).toPrecision(Math.max(3, Math.ceil(x) + 1)) + " %";
  drawing.addEventListener("pointermove", (event) => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse()).x;
    const x = Math.min(last, Math.max(0, (place - low) / (high - low) * last));
    const texts = [];
    for (const { label, pieces } of lines) {
      const piece = pieces.find((points) => points[0][0] <= x && x <= points[points.length - 1][0]);
      // A value holds up to its point: of a stretch its end, of a curve the next percentile.
      if (piece) texts.push(label + " " + piece.find((point) => point[0] >= x)[1].toLocaleString("en"));
    }
    output.textContent = where(x) + ": " + (texts.join(" · ") || "not measured");
    const at = low + x / last * (high - low);
    rule.setAttribute("x1", at);
    rule.setAttribute("x2", at);
    rule.style.visibility = "visible";
  });
  drawing.addEventListener("pointerleave", () => {
    output.textContent = "";
    rule.style.visibility = "hidden";
  });
}
