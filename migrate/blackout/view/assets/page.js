"use strict";
const {report, marks} = JSON.parse(document.getElementById("data").textContent);
const ink = getComputedStyle(document.body).color;

// Each column of pixels sums the buckets that fall into it: the share of probes
// that found an answer in green, the rest in red, the worst round trip in blue.
function draw(plot) {
  const c = plot.canvas, scale = devicePixelRatio || 1, w = c.clientWidth, h = c.clientHeight;
  c.width = w * scale; c.height = h * scale;
  const g = c.getContext("2d"), s = plot.series, base = h - 18;
  g.scale(scale, scale);
  const span = plot.to - plot.from, x = ms => (ms - plot.from) / span * w;
  let worst = 1;
  const columns = Array.from({length: Math.ceil(w)}, () => ({sent: 0, answered: 0, rtt: 0}));
  s.sent.forEach((sent, i) => {
    const left = x(i * s.bucket_ms), right = x((i + 1) * s.bucket_ms);
    if (right < 0 || left >= w) return;
    for (let p = Math.max(0, Math.floor(left)); p < Math.min(columns.length, Math.max(right, left + 1)); p++) {
      const col = columns[p];
      col.sent += sent; col.answered += s.answered[i]; col.rtt = Math.max(col.rtt, s.rtt_max_us[i]);
      worst = Math.max(worst, col.rtt);
    }
  });
  columns.forEach((col, p) => {
    if (!col.sent && !col.answered) return;
    const lit = col.sent ? Math.min(col.answered / col.sent, 1) : 1, half = base / 2;
    g.fillStyle = "#c62828"; g.fillRect(p, 0, 1, half * (1 - lit));
    g.fillStyle = "#43a047"; g.fillRect(p, half * (1 - lit), 1, half * lit);
    const tall = half * Math.log1p(col.rtt) / Math.log1p(worst);
    g.fillStyle = "#1e88e5"; g.fillRect(p, base - tall, 1, tall);
  });
  const bar = (from, to) => [Math.max(x(Date.parse(from) - plot.start), 0), Math.min(x(Date.parse(to) - plot.start), w)];
  g.fillStyle = "#9e9e9e";
  report.faults.forEach(f => {
    const [left, right] = bar(f.start, f.end);
    if (right > 0 && left < w) g.fillRect(left, 0, Math.max(right - left, 1), base / 2);
  });
  g.fillStyle = "#fff"; g.textAlign = "center"; g.font = "12px system-ui, sans-serif";
  plot.outages.forEach(o => {
    const [left, right] = bar(o.start, o.end), text = o.ms.toFixed(1) + " ms";
    if (right - left > g.measureText(text).width + 6) g.fillText(text, (left + right) / 2, base / 4 + 4);
  });
  g.fillStyle = g.strokeStyle = ink; g.textAlign = "left";
  marks.forEach((m, i) => {
    const at = x(Date.parse(m.at) - plot.start);
    if (at < 0 || at > w) return;
    g.globalAlpha = .6; g.fillRect(at, 0, 1, base); g.globalAlpha = 1; g.fillText(m.text, at + 3, 12 + i % 6 * 12);
  });
  g.fillText(clock(plot, plot.from), 2, h - 4);
  g.textAlign = "right"; g.fillText(clock(plot, plot.to), w - 2, h - 4);
  if (worst > 1) g.fillText("rtt up to " + worst + " µs", w - 2, base / 2 + 12);
  g.textAlign = "left";
  if (plot.drag) { g.globalAlpha = .2; g.fillRect(Math.min(plot.drag[0], plot.drag[1]), 0, Math.abs(plot.drag[1] - plot.drag[0]), base); g.globalAlpha = 1; }
}

function clock(plot, ms) { return new Date(plot.start + ms).toISOString().slice(11, 23); }

// Only plots on the screen have pixels: of a thousand, all would need a gigabyte.
const plots = new Map();
const watcher = new IntersectionObserver(entries => entries.forEach(e => {
  if (e.isIntersecting) draw(plots.get(e.target)); else e.target.width = e.target.height = 0;
}), {rootMargin: "300px"});
addEventListener("beforeprint", () => plots.forEach(draw));

document.querySelectorAll("canvas").forEach(canvas => {
  const t = report.targets[canvas.dataset.target], s = t.series, note = document.querySelector(`[data-note="${canvas.dataset.target}"]`);
  const all = Math.max(s.sent.length * s.bucket_ms, 1), plot = {canvas, series: s, outages: t.outages, start: Date.parse(s.start), from: 0, to: all};
  const show = (from, to) => {
    if (to - from < 2 * s.bucket_ms) return;
    plot.from = Math.max(0, from); plot.to = Math.min(all, to); draw(plot);
  };
  const at = e => plot.from + e.offsetX / canvas.clientWidth * (plot.to - plot.from);
  canvas.onmousedown = e => { plot.drag = [e.offsetX, e.offsetX]; plot.begin = at(e); };
  canvas.onmousemove = e => {
    const i = Math.floor(at(e) / s.bucket_ms);
    if (i >= 0 && i < s.sent.length) note.textContent = `${clock(plot, i * s.bucket_ms)}: ${s.sent[i]} sent, ${s.answered[i]} answered, worst round trip ${s.rtt_max_us[i]} µs`;
    if (plot.drag) { plot.drag[1] = e.offsetX; draw(plot); }
  };
  canvas.onmouseup = e => {
    const end = at(e); plot.drag = null;
    if (Math.abs(end - plot.begin) > 0) show(Math.min(plot.begin, end), Math.max(plot.begin, end));
    draw(plot);
  };
  canvas.onmouseleave = () => { plot.drag = null; draw(plot); };
  canvas.ondblclick = () => show(0, all);
  canvas.onwheel = e => {
    e.preventDefault();
    const m = at(e), k = e.deltaY > 0 ? 1.25 : .8;
    show(m - (m - plot.from) * k, m + (plot.to - m) * k);
  };
  addEventListener("resize", () => { if (canvas.width) draw(plot); });
  plots.set(canvas, plot);
  watcher.observe(canvas);
});
