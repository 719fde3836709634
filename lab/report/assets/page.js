'use strict';
(() => {
const data = JSON.parse(document.getElementById('data').textContent);
const NS = document.getElementById('mark').namespaceURI;
const tip = document.getElementById('tip');
const LANE = 46, GAP = 6, STRIP = 5, NAME = 126, PANE = 232, BETWEEN = 18, AXIS = 22, ROW = 14, MAXROWS = 7;
const NICE = [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1e6];
const RTTLOW = 100; // µs: the foot of the skyline

let paper = 0; // the width to draw at for the printer, 0 on a screen

// ---- the packed series -------------------------------------------------

const value = new Uint8Array(128);
[...data.digits].forEach((c, i) => { value[c.charCodeAt(0)] = i; });

// unpack undoes pack.go: fixed-width numbers, '*' and three digits repeat the last one.
function unpack(packed, n) {
  const out = new Uint32Array(n), s = packed.s, w = packed.w;
  let pos = 0, i = 0, last = 0;
  const read = width => { let v = 0; while (width-- > 0) v = v * 64 + value[s.charCodeAt(pos++)]; return v; };
  while (pos < s.length && i < n) {
    if (s[pos] === '*') { pos++; const times = read(3); out.fill(last, i, i + times); i += times; }
    else out[i++] = last = read(w);
  }
  return out;
}

function unpackPiece(p) {
  const sent = unpack(p.sent, p.n), missed = unpack(p.missed, p.n), rtt = unpack(p.rtt, p.n);
  const answered = new Float64Array(p.n), us = new Float64Array(p.n);
  for (let i = 0; i < p.n; i++) {
    answered[i] = sent[i] - (missed[i] % 2 ? -(missed[i] + 1) / 2 : missed[i] / 2);
    us[i] = rtt[i] ? Math.expm1(rtt[i] / data.rttSteps * Math.log1p(data.rttTop)) : 0;
  }
  return {t: p.t, step: p.step, n: p.n, end: p.t + p.n * p.step, sent, answered, us};
}

// cells merges the points between a and b so that none is narrower than one pixel.
function cells(lane, a, b, width, each) {
  const px = (b - a) / width;
  for (const p of lane.points) {
    if (p.end <= a || p.t >= b) continue;
    const first = Math.max(0, Math.floor((a - p.t) / p.step)), last = Math.min(p.n, Math.ceil((b - p.t) / p.step));
    for (let i = first; i < last;) {
      const from = p.t + i * p.step, stop = a + (Math.floor((from - a) / px + 1e-6) + 1) * px;
      const cell = {from, to: 0, sent: 0, answered: 0, us: 0};
      do {
        cell.sent += p.sent[i]; cell.answered += p.answered[i];
        if (p.us[i] > cell.us) cell.us = p.us[i];
        i++;
      } while (i < last && p.t + (i + 0.5) * p.step < stop);
      cell.to = p.t + i * p.step;
      each(cell);
    }
  }
}

// ---- small helpers -----------------------------------------------------

function el(parent, name, attrs, text) {
  const e = document.createElementNS(NS, name);
  for (const k in attrs) e.setAttribute(k, attrs[k]);
  if (text !== undefined) e.textContent = text;
  if (parent) parent.appendChild(e);
  return e;
}
const f1 = v => Math.round(v * 10) / 10;
function span(ms) {
  const digits = ms < 9.95 && ms > 0 ? 1 : 0;
  return ms >= 9999.5 ? (ms / 1000).toFixed(1) + ' s' : ms.toFixed(digits) + ' ms';
}
function clock(ms, step) {
  const d = step >= 1000 ? 0 : step >= 100 ? 1 : step >= 10 ? 2 : 3;
  const text = (Math.abs(ms) / 1000).toFixed(d);
  return (ms < 0 && Number(text) ? '−' : '') + text + ' s';
}
function roundTrip(us) { return us ? (us >= 1000 ? span(us / 1000) : us.toFixed(0) + ' µs') : '–'; }
function clip(text, n) { const c = [...text]; return c.length > n ? c.slice(0, n - 1).join('') + '…' : text; }
function nice(v) { return NICE.find(n => n >= v) || v; }

// ---- one lane ----------------------------------------------------------

// drawLane draws a lane between times a and b into the box x, y, w, LANE.
function drawLane(g, lane, box, a, b, top) {
  const {x, y, w} = box, scale = w / (b - a), X = t => x + (t - a) * scale, foot = y + LANE - STRIP - 1;
  const H = us => (LANE - STRIP - 5) * Math.log(Math.max(us, RTTLOW * 1.06) / RTTLOW) / Math.log(top / RTTLOW);
  el(g, 'rect', {class: 'lane', x, y, width: w, height: LANE, rx: 2});
  let grid = '';
  for (let us = 1000; us < top; us *= 10) grid += `M${x} ${f1(foot - H(us))}h${w}`;
  el(g, 'path', {class: 'grid', d: grid});
  for (const [t, len] of washes(lane, a, b)) {
    const x0 = Math.max(x, X(t)), x1 = Math.min(x + w, X(t + len));
    if (x1 > x && x0 < x + w) el(g, 'rect', {class: 'wash', x: f1(x0), y, width: f1(Math.max(1.2, x1 - x0)), height: LANE});
  }
  let sky = ''; const strip = {all: '', some: '', gone: ''};
  cells(lane, a, b, w, c => {
    const x0 = Math.max(x, X(c.from)), x1 = Math.min(x + w, X(c.to)), cw = Math.max(0.6, x1 - x0);
    if (x1 <= x || x0 >= x + w) return;
    if (c.us) { const h = H(Math.min(c.us, top)); sky += `M${x0.toFixed(2)} ${f1(foot)}v${-f1(h)}h${cw.toFixed(2)}v${f1(h)}z`; }
    if (!c.sent && !c.answered) return;
    const kind = c.answered >= c.sent ? 'all' : c.answered > 0 ? 'some' : 'gone';
    strip[kind] += `M${x0.toFixed(2)} ${f1(y + LANE - STRIP)}h${cw.toFixed(2)}v${STRIP - 0.5}h${-cw.toFixed(2)}z`;
  });
  el(g, 'path', {class: 'sky', d: sky});
  for (const kind in strip) if (strip[kind]) el(g, 'path', {class: kind, d: strip[kind]});
  return X;
}

// washes are the outages in view, with the measured blackout in place of the outage that it covers.
function washes(lane, a, b) {
  const out = lane.outages.filter(o => o[0] < b && o[0] + o[1] > a);
  const k = lane.blackout;
  if (!k) return out;
  return out.filter(o => o[0] + o[1] < k[0] - 1 || o[0] > k[0] + k[1] + 1).concat([k]);
}

// label writes the length of the blackout inside its band, or beside it and drop lower where that is too narrow.
function label(g, lane, box, X, drop) {
  const k = lane.blackout;
  if (!k) return;
  const x0 = Math.max(box.x, X(k[0])), x1 = Math.min(box.x + box.w, X(k[0] + k[1]));
  if (x1 < box.x || x0 > box.x + box.w) return;
  const room = lane.label.length * 6.6 + 8, y = box.y + 14;
  if (x1 - x0 > 8) el(g, 'path', {class: 'edge', d: `M${f1(x0)} ${box.y}v${LANE}M${f1(x1)} ${box.y}v${LANE}`});
  if (x1 - x0 > room) el(g, 'text', {class: 'len', x: f1((x0 + x1) / 2), y, 'text-anchor': 'middle'}, lane.label);
  else if (x1 + room < box.x + box.w) el(g, 'text', {class: 'len', x: f1(x1 + 4), y: y + drop}, lane.label);
  else el(g, 'text', {class: 'len', x: f1(x0 - 4), y: y + drop, 'text-anchor': 'end'}, lane.label);
}

// ---- axes and events ---------------------------------------------------

function axis(g, x, y, w, a, b, most) {
  let step = nice((b - a) / most);
  el(g, 'path', {class: 'where', d: `M${x} ${y}h${w}`});
  for (let t = Math.ceil(a / step) * step; t <= b + 1e-6; t += step) {
    const px = x + (t - a) / (b - a) * w;
    el(g, 'path', {class: 'where', d: `M${f1(px)} ${y}v4`});
    el(g, 'text', {class: 'm', x: f1(px), y: y + 15, 'text-anchor': px > x + w - 14 ? 'end' : px < x + 14 ? 'start' : 'middle'}, clock(t, step));
  }
}

// placeEvents gives every event in view a row so that no two labels touch. What finds no
// room shows its number in the list below the plot, or nothing where even that has none.
function placeEvents(events, x, w, a, b) {
  const ends = [], placed = [];
  events.forEach((e, i) => {
    if (e.t < a || e.t > b) return;
    const px = x + (e.t - a) / (b - a) * w;
    for (const text of [clip(e.label, 44), String(i + 1), '']) {
      const len = text.length * 6.2 + 10, left = px + len > x + w ? px - len : px;
      let row = ends.findIndex(taken => taken.every(s => left >= s[1] || left + len <= s[0]));
      if (row < 0 && ends.length < MAXROWS) row = ends.push([]) - 1;
      if (row < 0 && text) continue;
      if (row >= 0) ends[row].push([left, left + len]);
      placed.push({px, row, text, end: left < px, zero: Math.abs(e.t) < 0.5});
      break;
    }
  });
  return {placed, rows: ends.length};
}

// ---- one figure --------------------------------------------------------

// paneSpan is how much time a lane's pane shows: the same for all lanes of the scenario, so that
// lengths compare, but for a blackout that would be lost in it or would not fit.
function paneSpan(lane, common) {
  const len = lane.blackout[1];
  return len * 1.15 > common || len < common / 25 ? nice(len * 2.2) : common;
}

function drawFigure(fig, group) {
  const box = fig.node, W = paper || Math.max(700, box.clientWidth || 1184), [a, b] = group.view;
  const pw = W - NAME - BETWEEN - PANE, px = NAME, ix = NAME + pw + BETWEEN;
  const events = placeEvents(fig.events, px, pw, a, b);
  const head = events.rows * ROW + 6, bottom = head + fig.lanes.length * (LANE + GAP);
  const svg = el(null, 'svg', {viewBox: `0 0 ${W} ${bottom + AXIS}`, role: 'img', 'aria-label': 'answers over time, ' + fig.agent});
  const labels = []; // drawn last, above the events' lines
  fig.lanes.forEach((lane, i) => {
    const y = head + i * (LANE + GAP), g = el(svg, 'g', {});
    el(g, 'title', {}, lane.guest + ' ' + lane.proto);
    el(g, 'text', {x: 0, y: y + 16, 'font-weight': 600}, clip(lane.guest, 16));
    el(g, 'text', {class: 'm', x: 0, y: y + 30}, lane.proto);
    el(g, 'text', {class: 'tiny', x: 0, y: y + 42}, lane.note);
    scaleMarks(g, y, group.top);
    const main = {x: px, y, w: pw};
    const X = drawLane(g, lane, main, a, b, group.top);
    labels.push(() => label(svg, lane, main, X, 0));
    if (lane.blackout) drawPane(g, fig, lane, {x: ix, y, w: PANE}, group);
  });
  drawEvents(svg, events, head, bottom);
  labels.forEach(draw => draw());
  axis(svg, px, bottom - GAP + 2, pw, a, b, pw / 90);
  el(svg, 'text', {class: 'm', x: ix, y: bottom + 11}, 'around the longest blackout');
  const over = el(svg, 'g', {}), hit = el(svg, 'rect', {class: 'hit', x: px, y: 0, width: pw, height: bottom});
  box.replaceChildren(svg);
  listen(fig, group, {svg, over, hit, px, pw, head, bottom, W});
}

// scaleMarks names two of the round-trip lines at the left of a lane.
function scaleMarks(g, y, top) {
  const foot = y + LANE - STRIP - 1, at = us => foot - (LANE - STRIP - 5) * Math.log(us / RTTLOW) / Math.log(top / RTTLOW);
  for (let us = 1000, i = 0; us < top; us *= 10, i++) {
    if (i % 2 === 0) el(g, 'text', {class: 'tiny', x: NAME - 4, y: f1(at(us) + 3), 'text-anchor': 'end'}, us >= 1e6 ? us / 1e6 + ' s' : us / 1000 + ' ms');
  }
}

function drawPane(g, fig, lane, box, group) {
  const [t, len] = lane.blackout, width = paneSpan(lane, group.pane), a = t + len / 2 - width / 2, b = a + width;
  const X = drawLane(g, lane, box, a, b, group.top);
  let lines = '';
  for (const e of fig.events) if (e.t > a && e.t < b) lines += `M${f1(X(e.t))} ${box.y}v${LANE}`;
  if (lines) el(g, 'path', {class: 'event', d: lines});
  label(g, lane, box, X, 12);
  el(g, 'text', {class: 'tiny halo', x: box.x + box.w - 3, y: box.y + 10, 'text-anchor': 'end'}, '↔ ' + (width >= 1000 ? width / 1000 + ' s' : width + ' ms'));
  el(g, 'text', {class: 'tiny halo', x: box.x + 3, y: box.y + 10}, 'at ' + clock(t, 1));
}

function drawEvents(svg, events, head, bottom) {
  for (const e of events.placed) {
    const y = e.row < 0 ? head : e.row * ROW + 3;
    el(svg, 'path', {class: e.zero ? 'zero' : 'event', d: `M${f1(e.px)} ${y}V${bottom - GAP + 2}`});
  }
  for (const e of events.placed) {
    if (e.text) el(svg, 'text', {class: 'etext', x: f1(e.px + (e.end ? -4 : 4)), y: e.row * ROW + 12, 'text-anchor': e.end ? 'end' : 'start'}, e.text);
  }
}

// ---- hand and eye ------------------------------------------------------

function listen(fig, group, view) {
  const {svg, over, hit, px, pw, head, bottom, W} = view;
  const place = ev => {
    const r = svg.getBoundingClientRect(), k = W / r.width;
    return {x: Math.min(px + pw, Math.max(px, (ev.clientX - r.left) * k)), y: (ev.clientY - r.top) * k};
  };
  const time = x => group.view[0] + (x - px) / pw * (group.view[1] - group.view[0]);
  let from = null;
  hit.addEventListener('pointerdown', ev => { if (ev.button === 0) { from = place(ev).x; hit.setPointerCapture(ev.pointerId); } });
  hit.addEventListener('pointermove', ev => {
    const p = place(ev);
    over.replaceChildren();
    if (from !== null) el(over, 'rect', {class: 'sel', x: f1(Math.min(from, p.x)), y: head, width: f1(Math.abs(p.x - from)), height: bottom - head - GAP});
    el(over, 'path', {class: 'cross', d: `M${f1(p.x)} ${head}V${bottom - GAP}`});
    show(ev, fig, Math.floor((p.y - head) / (LANE + GAP)), time(p.x), (group.view[1] - group.view[0]) / pw);
  });
  hit.addEventListener('pointerup', ev => {
    const start = from, end = place(ev).x;
    from = null;
    if (start !== null && Math.abs(end - start) > 4) zoom(group, [time(Math.min(start, end)), time(Math.max(start, end))]);
  });
  hit.addEventListener('pointercancel', () => { from = null; over.replaceChildren(); });
  hit.addEventListener('pointerleave', () => { if (from === null) over.replaceChildren(); tip.hidden = true; });
  hit.addEventListener('dblclick', () => zoom(group, group.whole));
}

// show fills the tip with what one lane has at a time.
function show(ev, fig, index, t, px) {
  const lane = fig.lanes[index];
  if (!lane) { tip.hidden = true; return; }
  let hit = null;
  cells(lane, t - px / 2, t + px / 2, 1, c => { if (!hit) hit = c; else { hit.to = c.to; hit.sent += c.sent; hit.answered += c.answered; hit.us = Math.max(hit.us, c.us); } });
  const k = lane.blackout, dark = k && t >= k[0] && t <= k[0] + k[1];
  tip.textContent = `${clip(lane.guest, 40)} ${lane.proto}  ${clock(t, 1)}` + (hit ? `\nsent ${hit.sent}, answered ${hit.answered} in ${span(hit.to - hit.from)}\nlongest round trip ${roundTrip(hit.us)}` : '\nnot watched') + (dark ? `\nblackout ${lane.label}` : '');
  tip.hidden = false;
  const r = tip.getBoundingClientRect();
  tip.style.left = Math.min(ev.clientX + 14, innerWidth - r.width - 8) + 'px';
  tip.style.top = Math.min(ev.clientY + 16, innerHeight - r.height - 8) + 'px';
}

function zoom(group, view) {
  if (view[1] - view[0] < 2) { const mid = (view[0] + view[1]) / 2; view = [mid - 1, mid + 1]; }
  group.view = view;
  group.button.hidden = view === group.whole;
  group.figures.forEach(f => drawFigure(f, group));
}

// ---- start -------------------------------------------------------------

const groups = new Map();
for (const node of document.querySelectorAll('figure[data-figure]')) {
  const fig = data.figures[node.dataset.figure];
  fig.node = node;
  for (const lane of fig.lanes) lane.points = lane.pieces.map(unpackPiece);
  if (!groups.has(fig.group)) groups.set(fig.group, {figures: [], button: node.closest('.scenario').querySelector('.reset')});
  groups.get(fig.group).figures.push(fig);
}
for (const group of groups.values()) {
  let a = 0, b = 0, us = 1e6, longest = 0;
  for (const fig of group.figures) for (const lane of fig.lanes) {
    for (const p of lane.points) { a = Math.min(a, p.t); b = Math.max(b, p.end); for (const v of p.us) if (v > us) us = v; }
    if (lane.blackout && !lane.open) longest = Math.max(longest, lane.blackout[1]);
  }
  group.whole = group.view = [a, Math.max(b, a + 1)];
  group.top = Math.pow(10, Math.ceil(Math.log10(us) - 1e-3));
  group.pane = nice(longest * 1.5);
  group.button.addEventListener('click', () => zoom(group, group.whole));
  group.figures.forEach(f => drawFigure(f, group));
}
const redraw = () => groups.forEach(g => g.figures.forEach(f => drawFigure(f, g)));
let waiting = 0;
addEventListener('resize', () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(redraw); });
addEventListener('beforeprint', () => { paper = 1184; redraw(); });
addEventListener('afterprint', () => { paper = 0; redraw(); });
})();
