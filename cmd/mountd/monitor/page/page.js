// The page: it asks for the report once a second, while it is seen, and shows it.
// What a report says is set as text and never as markup: a key may hold anything.

import { Chart, rate, size } from "./chart.js";

const period = 1000; // milliseconds between two reports
const patience = 10000; // that an answer may take
const shownFiles = 64;

const at = (id) => document.getElementById(id);

// set writes a text, and leaves one that is right alone.
function set(id, text) {
  const e = typeof id === "string" ? at(id) : id;
  if (e.textContent !== text) e.textContent = text;
}

function count(n, what) { return `${n} ${what}${n === 1 ? "" : "s"}`; }

// duration writes seconds in at most two units.
function duration(s) {
  if (s < 10) return s.toFixed(1) + " s";
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const i = units.findIndex(([, n]) => s >= n);
  const [unit, n] = units[i];
  const rest = units[i + 1] ? Math.floor((s % n) / units[i + 1][1]) : 0;
  return `${Math.floor(s / n)} ${unit}` + (rest ? ` ${rest} ${units[i + 1][0]}` : "");
}

function reader(pid, command) {
  if (!pid) return "a process of another container";
  return command ? `${command} (${pid})` : `process ${pid}, ended`;
}

// part makes an element of a list's entry.
function part(tag, className, parent) {
  const e = document.createElement(tag);
  e.className = className;
  parent.append(e);
  return e;
}

// list shows items in a list, whose entries are made once and written anew.
function list(id, items, more) {
  const ul = at(id);
  ul.querySelector(".more")?.remove();
  while (ul.children.length > items.length) ul.lastElementChild.remove();
  while (ul.children.length < items.length) {
    const li = document.createElement("li");
    const name = part("p", "name", li);
    part("span", "dir", name);
    part("bdi", "base", name);
    part("p", "amount", li);
    li.append(document.createElement("progress"));
    part("p", "note", li);
    part("p", "note bad", li);
    ul.append(li);
  }
  items.forEach((item, i) => entry(ul.children[i], item));
  at(id + "-empty").hidden = items.length > 0;
  if (more > 0) {
    const li = part("li", "more", ul);
    set(li, `and ${more} more`);
  }
}

function entry(li, item) {
  const [name, amount, bar, note, trouble] = li.children;
  const cut = item.name.lastIndexOf("/") + 1;
  set(name.children[0], item.name.slice(0, cut));
  set(name.children[1], item.name.slice(cut));
  set(amount, item.amount);
  bar.hidden = item.whole === undefined;
  if (!bar.hidden) {
    bar.max = Math.max(item.whole, 1);
    bar.value = item.whole ? item.done : 1;
    bar.setAttribute("aria-label", item.label);
  }
  set(note, item.note);
  trouble.hidden = !item.trouble;
  set(trouble, item.trouble || "");
}

function showMount(r) {
  set("source", r.source);
  set("mountpoint", r.mountpoint ? `at ${r.mountpoint} ·` : "");
  set("since", `up ${duration(r.uptime_seconds)} · pid ${r.pid}`);
  set("version", `weightfs ${r.version}`);
  document.title = (r.throughput.now.served ? rate(r.throughput.now.served) + " · " : "") + r.source + " · weightfs";
}

const named = { store: "the store", line: "the line", reader: "the reader", memory: "memory", "shared cache": "the shared cache", nothing: "nothing" };

function showBound({ by, why }) {
  at("bound").dataset.by = by;
  set("bound-by", named[by] ?? by);
  set("bound-why", why);
}

function showThroughput(t) {
  for (const kind of ["served", "fetched"]) {
    set(kind + "-now", rate(t.now[kind]));
    set(kind + "-minute", rate(t.minute[kind]));
    set(kind + "-ten", rate(t.ten_minutes[kind]));
  }
  chart.show(t.history);
}

const states = [
  ["retained", "read and kept"], ["unread", "fetched, not yet read"], ["in_flight", "in flight"],
  ["leased", "being read"], ["free", "free"],
];

function showCache(r) {
  const c = r.cache, stack = at("stack"), legend = at("legend");
  set("cache-used", size(c.total - c.free));
  set("cache-limit", size(r.memory_limit));
  if (!stack.children.length) {
    for (const [key, label] of states) {
      part("i", key, stack);
      const li = part("li", "", legend);
      part("i", key, li);
      part("span", "", li).textContent = label;
      part("b", "", li);
    }
  }
  states.forEach(([key], i) => {
    stack.children[i].style.flex = `${c[key]} 0 0px`;
    stack.children[i].hidden = c[key] === 0;
    stack.children[i].dataset.bytes = c[key];
    set(legend.children[i].lastElementChild, size(c[key]));
  });
  stack.setAttribute("aria-label", `Of ${size(c.total)}: ` + states.map(([key, label]) => `${size(c[key])} ${label}`).join(", "));
  set("resident", size(r.memory.resident));
  set("promised", size(r.memory.promised));
  at("resident-bar").value = r.memory.resident / Math.max(r.memory.promised, 1);
}

function showFetches(r) {
  const f = r.fetches;
  set("gets", String(f.under_way));
  set("gets-limit", `at most ${f.limit}`);
  const more = [];
  if (f.queued) more.push(`${f.queued} have to wait`);
  if (r.waiting.readers) more.push(count(r.waiting.readers, "read") + " waiting" + (r.waiting.for_memory ? `, ${r.waiting.for_memory} for memory` : ""));
  set("gets-more", more.map((text) => ", " + text).join(""));
  at("gets-bar").value = Math.min(f.under_way / Math.max(f.limit, 1), 1);
  list("gets-list", f.objects.slice(0, 8).map((o) => ({
    name: o.object, amount: count(o.gets, "GET"), done: o.landed, whole: o.bytes, label: `landed of ${o.object}`,
    note: [`${size(o.landed)} of ${size(o.bytes)}`, `oldest ${duration(o.oldest_seconds)}`]
      .concat(o.unanswered ? `${o.unanswered} without a first byte` : [], o.awaited ? `readers wait for ${o.awaited}` : []).join(" · "),
    trouble: o.trouble && `repeated: ${o.trouble}`,
  })), f.objects.length - 8);
}

function showTier(t) {
  at("tier").hidden = !t;
  if (!t) return;
  set("tier-bytes", size(t.bytes));
  set("tier-hits", t.hit_rate === null ? "" : `, ${Math.round(100 * t.hit_rate)}% hits`);
  set("tier-direct", size(t.direct_bytes));
  const causes = Object.entries(t.fallbacks).map(([cause, n]) => `${n} ${cause}`).join(", ");
  set("tier-causes", causes && `: ${causes}`);
  list("tier-list", t.instances.map((i) => ({
    name: i.url, amount: i.state === "closed" ? "asked" : "left alone",
    note: [count(i.requests, "request"), `${i.failures} failed`].concat(i.breaks ? `left alone ${count(i.breaks, "time")}` : []).join(" · "),
  })), 0);
}

function showFiles(f) {
  set("files-count", f.open ? String(f.open) : "");
  const shown = f.listed.slice(0, shownFiles);
  list("files", shown.map((file) => file.read_by_kernel ? {
    name: file.object, amount: size(file.size), note: `read by the kernel itself, which is not seen here · ${reader(file.pid, file.command)}`,
  } : {
    name: file.object, amount: rate(file.bytes_per_second), done: file.furthest, whole: file.size, label: `read of ${file.object}`,
    note: [`${Math.floor(file.size ? file.furthest / file.size * 100 : 100)}% of ${size(file.size)}`, reader(file.pid, file.command),
      `open for ${duration(file.open_seconds)}`].join(" · "),
  }), f.open - shown.length);
}

function showHandoff(h) {
  const shown = h.clients.slice(0, shownFiles);
  set("handoff-count", h.clients.length ? count(h.clients.length, "client") : "");
  at("handoff-shared").hidden = at("handoff-bar").hidden = !h.shared;
  set("handoff-rate", rate(h.clients.reduce((sum, c) => sum + c.bytes_per_second, 0)));
  set("handoff-more", `${size(h.bytes)} so far · ${size(h.held)} of ${size(h.cap)} kept`);
  at("handoff-bar").value = h.held / Math.max(h.cap, 1);
  set("clients-empty", h.shared ? "No process maps the memory." : `Not shared: ${h.why}.`);
  list("clients", shown.map((c) => ({
    name: reader(c.pid, c.command), amount: rate(c.bytes_per_second), done: c.held, whole: h.cap, label: `kept by ${reader(c.pid, c.command)}`,
    note: [`${size(c.bytes)} so far`, `${size(c.held)} in ${count(c.leases, "lease")}`, `${count(c.wants, "range")} wanted`, count(c.files, "file"),
      `open for ${duration(c.open_seconds)}`].concat(c.writable ? "writable" : []).join(" · "),
  })), h.clients.length - shown.length);
}

function showFailures(r) {
  list("failures", r.failures.slice(0, 16).map((f) => ({
    name: f.object || "/", amount: new Date(f.time).toLocaleTimeString(),
    note: [f.op + (f.op === "read" ? ` at ${size(f.offset)}` : "")].concat(f.count > 1 ? `${f.count} times` : [], reader(f.pid, f.command)).join(" · "),
    trouble: f.cause,
  })), r.failures.length - 16);
  set("retries", String(r.measures.store_retries_total ?? 0));
  set("stalls", String(r.measures.store_stalls_total ?? 0));
}

function showKernel(k) {
  const pairs = [
    ["Linux", k.release], ["FUSE protocol", k.fuse_protocol], ["Readahead", k.read_ahead ? size(k.read_ahead) : ""],
    ["Largest READ", size(k.max_read)], ["Requests ahead", k.max_background ? String(k.max_background) : ""],
    ["Readahead stops at", k.congestion_threshold ? count(k.congestion_threshold, "request") : ""],
    ["Passthrough", k.passthrough ? "yes" : "no"],
  ].filter(([, value]) => value);
  const dl = at("kernel");
  if (dl.children.length !== 2 * pairs.length) {
    dl.replaceChildren();
    pairs.forEach(() => { part("dt", "", dl); part("dd", "", dl); });
  }
  pairs.forEach(([name, value], i) => { set(dl.children[2 * i], name); set(dl.children[2 * i + 1], value); });
}

function show(r) {
  showMount(r);
  showBound(r.held_back_by);
  showThroughput(r.throughput);
  showCache(r);
  showFetches(r);
  showTier(r.tier);
  showFiles(r.files);
  showHandoff(r.handoff);
  showFailures(r);
  showKernel(r.kernel);
}

// state says whether what is shown is of now.
function state(name, text) {
  at("state").dataset.state = name;
  set("state", text);
  document.body.classList.toggle("lost", name === "lost");
}

let answered; // when the last report came

// reportURL is without the name and the token that the page's own may have, which
// fetch refuses; the browser remembers them.
const reportURL = new URL("api/report", document.baseURI);
reportURL.username = reportURL.password = "";

// ask fetches the report, and says why where that fails.
async function ask() {
  let answer;
  try {
    answer = await fetch(reportURL, { cache: "no-store", signal: AbortSignal.timeout(patience) });
    if (answer.ok) return await answer.json();
  } catch {
    throw new Error("mountd does not answer");
  }
  throw new Error(`mountd answers ${answer.status}`);
}

async function look() {
  let report;
  try {
    report = await ask();
  } catch (err) {
    state("lost", answered ? `${err.message}: seen last at ${answered.toLocaleTimeString()}` : err.message);
    return;
  }
  show(report);
  answered = new Date();
  state("live", "live");
}

// watch looks while the page is seen.
async function watch() {
  for (;;) {
    if (document.hidden) {
      await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
      continue;
    }
    await look();
    await new Promise((resolve) => setTimeout(resolve, period));
  }
}

const chart = new Chart(at("chart"), at("chart-reading"));
watch();
