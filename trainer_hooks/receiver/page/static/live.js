// Keeps the parts of a page that change up to date: elements with `data-live="NAME"` are fetched again as `?part=NAME`.
// What is equal stays untouched, so that choices, open details, the focus and the place on the page stay as they are.
const EVERY = 2000;

function morph(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  const known = new Map([...old.children].filter((child) => child.dataset?.key).map((child) => [child.dataset.key, child]));
  let here = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const same = wanted.dataset?.key ? known.get(wanted.dataset.key) : here;
    if (same && !wanted.dataset?.key && same.dataset?.key) {
      old.insertBefore(wanted, here);
    } else if (same && same.nodeName === wanted.nodeName) {
      if (same !== here) old.insertBefore(same, here);
      else here = here.nextSibling;
      if (same.nodeType === Node.TEXT_NODE) {
        if (same.data !== wanted.data) same.data = wanted.data;
      } else if (same.nodeType === Node.ELEMENT_NODE && !same.isEqualNode(wanted)) {
        morph(same, wanted);
      }
    } else {
      old.insertBefore(wanted, here);
    }
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

async function refresh(part) {
  const address = new URL(location.href);
  address.searchParams.set("part", part.dataset.live);
  address.hash = "";
  const answer = await fetch(address, { redirect: "manual" });
  if (answer.type === "opaqueredirect") return location.reload(); // signed out meanwhile
  if (!answer.ok) return;
  const fresh = document.createElement("div");
  fresh.innerHTML = await answer.text();
  for (const { name, value } of [...part.attributes]) fresh.setAttribute(name, value);
  morph(part, fresh);
  document.dispatchEvent(new Event("refreshed"));
}

async function follow(part) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (document.hidden) continue;
    // The server may be away for a while: the page shows what it had, and asks again.
    await refresh(part).catch(() => {});
  }
}

document.querySelectorAll("[data-live]:not([data-still])").forEach(follow);
