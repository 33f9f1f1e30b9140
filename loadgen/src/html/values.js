"use strict";
// Shows the values under the pointer. The page says the same without it: in its tables.
for (const drawing of document.querySelectorAll("svg[data-across]")) {
  const { across, end, left, right } = drawing.dataset;
  const [last, low, high] = [end, left, right].map(Number);
  const output = drawing.parentNode.querySelector("output");
  const rule = drawing.querySelector(".rule");
  const lines = [...drawing.querySelectorAll("path[data-values]")].map((path) => ({
    label: path.dataset.label,
    points: path.dataset.values.split(";").map((pair) => pair.split(" ").map(Number)),
  }));
  const where = (x) => across === "time" ? x.toFixed(1) + " s" : (100 - 100 * 10 ** -x).toPrecision(Math.max(3, Math.ceil(x) + 1)) + " %";
  drawing.addEventListener("pointermove", (event) => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse()).x;
    const x = Math.min(last, Math.max(0, (place - low) / (high - low) * last));
    const texts = [];
    for (const { label, points } of lines) {
      const near = points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best);
      if (Math.abs(near[0] - x) <= last / 20) texts.push(label + " " + near[1].toLocaleString("en"));
    }
    output.textContent = where(x) + ": " + texts.join(" · ");
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
