'use strict';
// Nothing a server has sent is ever parsed as markup: all of it goes through textContent.
(() => {
  const STEP = 400;
  const byId = id => document.getElementById(id);
  const data = id => JSON.parse(byId(id).textContent);
  const make = (tag, props, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(props || {})) {
      if (key === 'text') node.textContent = value;
      else if (key === 'class') node.className = value;
      else node.setAttribute(key, value);
    }
    node.append(...children.filter(child => child !== null));
    return node;
  };
  const clauses = data('clauses');
  const rows = [...document.querySelectorAll('#matrix tbody tr')];
  const cells = new Map();
  for (const row of rows) {
    for (const cell of row.querySelectorAll('a.v')) cells.set(cell.dataset.name + ' ' + cell.dataset.target, cell);
  }
  const controls = { q: byId('q'), filter: byId('filter'), level: byId('level'), way: byId('way') };
  const state = () => new URLSearchParams(location.hash.slice(1));

  // The fragment says all: what is filtered, and which case is open.
  const href = changes => {
    const next = state();
    for (const [key, value] of Object.entries(changes)) {
      if (value) next.set(key, value); else next.delete(key);
    }
    return '#' + next.toString();
  };

  const matches = (cell, filter, way) => {
    if (way && cell.dataset.way !== way) return false;
    if (!filter) return true;
    if (filter === 'unexpected') return cell.dataset.standing !== 'expected';
    if (filter === 'changed') return cell.dataset.changed === '1';
    if (filter === 'flaky') return cell.dataset.flaky === '1';
    return cell.dataset.verdict.toLowerCase() === filter;
  };

  const filter = now => {
    const q = (now.get('q') || '').toLowerCase();
    const [verdict, level, way] = ['filter', 'level', 'way'].map(key => (now.get(key) || '').toLowerCase());
    let shown = 0;
    for (const row of rows) {
      const links = [...row.querySelectorAll('a.v')];
      const own = links.filter(cell => matches(cell, verdict, way));
      const text = row.textContent + ' ' + own.map(cell => cell.title).join(' ');
      const show = own.length > 0 && (!level || row.dataset.level.toLowerCase() === level)
        && (!q || text.toLowerCase().includes(q));
      row.hidden = !show;
      for (const cell of links) cell.classList.toggle('dim', !own.includes(cell));
      shown += show ? 1 : 0;
    }
    byId('shown').textContent = shown + ' of ' + rows.length + ' cases';
  };

  const dump = hex => {
    const lines = [];
    for (let at = 0; at < hex.length; at += 32) {
      const bytes = hex.slice(at, at + 32).match(/../g) || [];
      const ascii = bytes.map(byte => {
        const code = parseInt(byte, 16);
        return code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : '.';
      }).join('');
      lines.push((at / 2).toString(16).padStart(6, '0') + '  ' + bytes.join(' ').padEnd(47) + '  ' + ascii);
    }
    return lines.join('\n');
  };

  const step = ([at, connection, side, layer, text, length, hex]) => {
    const time = make('span', { class: 'time', text: (at / 1000).toFixed(3) + ' ms' });
    if (layer === 'note') {
      return make('li', { class: 'note', 'data-layer': layer }, time, make('span'), make('div', { class: 'lane', text }));
    }
    const who = side ? 'server' : 'judge';
    const button = make('button', { type: 'button', 'aria-expanded': 'false' }, make('span', { text }));
    button.append(make('span', { class: 'arrow' }));
    button.setAttribute('aria-label', who + ', connection ' + connection + ', ' + layer + ': ' + text);
    const lane = make('div', { class: 'lane' }, button);
    button.addEventListener('click', () => {
      const open = lane.querySelector('pre');
      button.setAttribute('aria-expanded', String(!open));
      if (open) { open.remove(); return; }
      const more = length - hex.length / 2;
      const rest = more > 0 ? '\n… ' + more + ' bytes more; the JSON report and the wire log keep more' : '';
      lane.append(make('pre', { tabindex: '0', text: length ? dump(hex) + rest : 'no bytes' }));
    });
    const chip = make('span', { class: 'conn c' + (1 + (connection - 1) % 5), text: String(connection), title: 'connection ' + connection });
    return make('li', { class: 'step ' + who + ' ' + layer, 'data-layer': layer, 'data-connection': connection }, time, chip, lane);
  };

  const ladder = items => {
    const list = make('ol', { class: 'ladder', 'aria-label': 'messages between judge and server' });
    const lane = make('div', { class: 'lane' }, make('span', { text: 'judge' }), make('span', { text: 'server' }));
    list.append(make('li', { class: 'ends' }, make('span'), make('span'), lane));
    const hidden = new Set();
    const legend = make('div', { class: 'legend' });
    const toggle = (key, label, cls) => {
      const box = make('input', { type: 'checkbox', checked: '' });
      box.addEventListener('change', () => {
        if (box.checked) hidden.delete(key); else hidden.add(key);
        for (const li of list.querySelectorAll('li[data-layer]')) hide(li);
      });
      legend.append(make('label', { class: 'line ' + cls }, box, make('span', { text: label })));
    };
    const hide = li => { li.hidden = hidden.has(li.dataset.layer) || hidden.has('c' + li.dataset.connection); };
    for (const layer of new Set(items.map(item => item[3]))) toggle(layer, layer, layer);
    const connections = [...new Set(items.map(item => item[1]))].filter(Boolean);
    if (connections.length > 1) {
      for (const c of connections.slice(0, 20)) toggle('c' + c, 'connection ' + c, 'c' + (1 + (c - 1) % 5));
    }
    let drawn = 0;
    const more = make('button', { type: 'button', class: 'more' });
    const draw = () => {
      for (const item of items.slice(drawn, drawn + STEP)) {
        const li = step(item);
        hide(li);
        list.append(li);
      }
      drawn = Math.min(drawn + STEP, items.length);
      more.textContent = 'Draw more, ' + (items.length - drawn) + ' are left';
      more.hidden = drawn === items.length;
    };
    more.addEventListener('click', draw);
    draw();
    return [legend, list, more];
  };

  const clause = number => {
    const known = clauses[number];
    if (!known) return make('p', { text: number });
    return make('details', {},
      make('summary', { text: number + ' ' + known.title + ' (' + known.level + ', ' + known.file + ')' }),
      make('p', { text: known.text }),
      make('p', { class: 'soft', text: known.sources }));
  };

  let open = null;
  const show = now => {
    const panel = byId('case');
    const key = (now.get('case') || '') + ' ' + (now.get('t') || '0');
    const cell = cells.get(key);
    if (open === key) return;
    open = key;
    for (const other of cells.values()) other.removeAttribute('aria-current');
    panel.hidden = !cell;
    panel.replaceChildren();
    if (!cell) return;
    cell.setAttribute('aria-current', 'true');
    const run = data('r' + cell.dataset.run);
    panel.dataset.name = run.name;
    const list = make('dl');
    const put = (name, value) => {
      if (value === null || value === undefined || value === '') return;
      const shown = value instanceof Node ? value : document.createTextNode(value);
      list.append(make('dt', { text: name }), make('dd', {}, shown));
    };
    put('Target', run.target);
    put('Rule', run.title + ' (' + run.level + ')');
    const cited = make('div');
    cited.append(...run.clauses.map(clause));
    put('Clauses', cited);
    put('Why', run.why);
    put('Sends', run.sends);
    put('Accepts', run.accepts);
    put('Expected', run.expected);
    put('Actual', run.actual);
    put('Seen', run.seen);
    put('Because', run.reason);
    put('Ended', run.closes);
    put('Standing', run.standing);
    if (run.expectation) {
      const e = run.expectation;
      put('Known', [e.verdict, e.seen, e.reason, e.issue, e.expires && 'until ' + e.expires].filter(Boolean).join('; '));
    }
    for (const other of run.flaky) put('Also came', other.verdict + ' with seed ' + other.seed + ': ' + other.detail);
    put('Tags', run.tags.join(', '));
    put('Took', (run.seconds * 1000).toFixed(1) + ' ms, ' + run.bytes + ' bytes');
    put('Again', make('code', { text: run.reproduce }));
    const head = make('header', {},
      make('span', { class: 'v ' + run.verdict, text: run.verdict }),
      make('h2', { text: run.name, tabindex: '-1' }),
      make('a', { href: href({ case: '', t: '' }), text: 'Close' }));
    panel.append(head, list, ...ladder(run.items));
    if (document.readyState === 'complete') {
      panel.scrollIntoView();
      panel.querySelector('h2').focus({ preventScroll: true });
    }
  };

  const render = () => {
    const now = state();
    for (const [key, control] of Object.entries(controls)) {
      if (document.activeElement !== control) control.value = now.get(key) || '';
    }
    filter(now);
    show(now);
  };
  for (const [key, control] of Object.entries(controls)) {
    control.addEventListener('input', () => {
      history.replaceState(null, '', href({ [key]: control.value }));
      render();
    });
  }
  byId('filters').addEventListener('submit', event => event.preventDefault());
  byId('matrix').addEventListener('click', event => {
    const cell = event.target.closest('a.v');
    if (!cell) return;
    event.preventDefault();
    location.hash = href({ case: cell.dataset.name, t: cell.dataset.target === '0' ? '' : cell.dataset.target });
  });
  window.addEventListener('hashchange', render);
  render();
})();
