// Run behind page.js by TestBrowserDraws: what a hand would do, and what the eye would see.
(() => {
const figures = [...document.querySelectorAll('figure svg')], seen = {figures: figures.length};
seen.lanes = figures.reduce((n, s) => n + [...s.querySelectorAll('title')].length, 0);
seen.label = figures[0].querySelector('text.len').textContent;
const axis = i => [...document.querySelectorAll('figure')[i].querySelectorAll('text.m')].map(t => t.textContent).join();
const before = [axis(0), axis(1)];
const hit = document.querySelector('.hit'), r = hit.getBoundingClientRect();
hit.setPointerCapture = () => {};
const send = (target, type, x) => target.dispatchEvent(new PointerEvent(type, {bubbles: true, button: 0, pointerId: 1, clientX: r.left + r.width * x, clientY: r.top + r.height * 0.8}));
send(hit, 'pointerdown', 0.2); send(hit, 'pointermove', 0.3); send(hit, 'pointerup', 0.3);
seen.zoomed = axis(0) !== before[0] && !document.querySelector('.reset').hidden;
seen.both = axis(1) !== before[1] && axis(0) === axis(1);
document.querySelector('.hit').dispatchEvent(new MouseEvent('dblclick', {bubbles: true}));
seen.whole = axis(0) === before[0] && axis(1) === before[1] && document.querySelector('.reset').hidden;
send(document.querySelector('.hit'), 'pointermove', 0.5);
const tip = document.getElementById('tip');
seen.tip = !tip.hidden && /sent \d+, answered \d+/.test(tip.textContent);
document.body.dataset.probe = JSON.stringify(seen);
})();
