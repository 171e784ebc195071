// A run's log records: the newest, the older ones on demand, and those that come while one looks.
const section = document.getElementById("logs");
const list = section.querySelector("ol");
const scroll = section.querySelector(".scroll");
const older = section.querySelector(".scroll button");
const form = section.querySelector("form");
const address = `${document.body.dataset.base}/api/v1/runs/${encodeURIComponent(section.dataset.run)}/logs`;
const MOST = 5000;
const AT_ONCE = 200;
let first = 0;
let last = 0;
let asking = new AbortController();

async function ask(more) {
  const query = new URLSearchParams({ level: form.level.value, search: form.search.value, tail: AT_ONCE, ...more });
  const answer = await fetch(`${address}?${query}`, { signal: asking.signal });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}

function line(record) {
  const item = document.createElement("li");
  item.className = record.level.toLowerCase();
  const time = document.createElement("time");
  const at = new Date(record.time * 1000).toISOString();
  time.textContent = at.slice(11, 19);
  time.title = at;
  const level = document.createElement("b");
  level.textContent = record.level;
  item.append(time, " ", level, ` ${record.message.replace(/^\n+/, "")}`);
  if (record.source) item.title = record.source;
  return item;
}

function add(records) {
  const isAtEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
  list.append(...records.map(line));
  while (list.children.length > MOST) {
    list.firstElementChild.remove();
    older.hidden = true; // what lies before can't be joined to the list any more
  }
  if (isAtEnd) scroll.scrollTop = scroll.scrollHeight;
}

async function begin() {
  asking.abort();
  asking = new AbortController();
  const page = await ask({});
  list.replaceChildren();
  ({ first, last } = page);
  older.hidden = page.records.length < AT_ONCE;
  add(page.records);
  scroll.scrollTop = scroll.scrollHeight;
  follow(asking.signal);
}

async function follow(signal) {
  while (!signal.aborted && form.follow.checked) {
    try {
      const page = await ask({ after: last, wait: 20 });
      last = page.last;
      add(page.records);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

older.addEventListener("click", async () => {
  const page = await ask({ before: first });
  first = page.first;
  older.hidden = page.records.length < AT_ONCE || list.children.length + AT_ONCE >= MOST;
  const height = scroll.scrollHeight;
  list.prepend(...page.records.map(line));
  scroll.scrollTop += scroll.scrollHeight - height;
});
let typed;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => begin().catch(() => {}), 200);
});
begin().catch(() => {});
