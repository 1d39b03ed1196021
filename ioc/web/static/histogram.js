// The histogram of a picture: logarithmic heights, with marks where black and white are.

import { short } from "./text.js";

const MARGIN = 18;

export function drawHistogram(canvas, { low, high, counts }, [black, white]) {
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name);
  const { width, height } = canvas;
  const floor = height - MARGIN;
  context.clearRect(0, 0, width, height);
  const highest = Math.log1p(Math.max(1, ...counts));
  context.fillStyle = colour("--strong");
  counts.forEach((count, at) => {
    const tall = (Math.log1p(count) / highest) * (floor - 4);
    context.fillRect((at * width) / counts.length, floor - tall, Math.ceil(width / counts.length), tall);
  });
  const place = (value) => ((value - low) / (high - low || 1)) * width;
  context.strokeStyle = colour("--focus");
  context.lineWidth = 2;
  for (const value of [black, white]) {
    const x = Math.min(Math.max(1, place(value)), width - 1);
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, floor);
    context.stroke();
  }
  context.fillStyle = colour("--text");
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "left";
  context.fillText(short(low), 2, height - 4);
  context.textAlign = "right";
  context.fillText(short(high), width - 2, height - 4);
}
