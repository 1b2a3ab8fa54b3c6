// Keys, and links that swap parts of the page instead of loading it anew. Without this script everything still works.
"use strict";

const PARTS = ["top", "list", "trace"];
const find = (selector) => document.querySelector(selector);
let latest = 0;

async function go(address, options = {}, remember = true) {
  const mine = ++latest;
  document.body.classList.add("loading");
  try {
    const answer = await fetch(address, options);
    const text = await answer.text();
    if (mine !== latest) return;
    if (!answer.ok) return say(text);
    swap(new DOMParser().parseFromString(text, "text/html"));
    if (remember) history.pushState(null, "", answer.url);
  } catch (error) {
    if (mine === latest) say("The server doesn't answer: is `dataforge view` still running?");
  } finally {
    if (mine === latest) document.body.classList.remove("loading");
  }
}

function swap(page, parts = PARTS) {
  const scrolled = find("#list .entries").scrollTop;
  const [before, down] = [shown(), find("#trace").scrollTop];
  for (const part of parts) document.getElementById(part).replaceWith(page.getElementById(part));
  document.body.toggleAttribute("data-reading", page.body.hasAttribute("data-reading"));
  find("#list .entries").scrollTop = scrolled;
  // a mark must not move what is being read; another trace begins at its top
  if (parts.includes("trace")) find("#trace").scrollTop = shown() === before ? down : 0;
  settle();
}

function shown() {
  return find("#trace .sample h3")?.textContent;
}

function say(text) {
  const place = find("#progress");
  place.textContent = text.trim();
  place.className = "error";
}

function settle() {
  find("#list [aria-current]")?.scrollIntoView({ block: "nearest" });
}

function send(form, button) {
  const fields = new URLSearchParams(new FormData(form));
  if (button?.name) fields.set(button.name, button.value);
  if (form.method === "post") return go(form.getAttribute("action"), { method: "POST", body: fields });
  for (const [name, value] of [...fields]) if (value === "") fields.delete(name);
  return go("/?" + fields);
}

document.addEventListener("click", (event) => {
  if (event.target.closest("#keys")) return find("#help").showModal();
  const link = event.target.closest('a[href^="/?"], a[href="/"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});

document.addEventListener("submit", (event) => {
  if (event.target.method === "dialog") return;
  event.preventDefault();
  send(event.target, event.submitter);
});

document.addEventListener("change", (event) => {
  if (event.target.matches("#filters select")) send(event.target.form);
});

window.addEventListener("popstate", () => go(location.href, {}, false));

const KEYS = {
  j: () => find("a[rel=next]")?.click(),
  k: () => find("a[rel=prev]")?.click(),
  "/": () => find("#search").select(),
  n: () => find("#note")?.focus(),
  "?": () => find("#help").showModal(),
  1: () => find("button[data-key='1']")?.click(),
  2: () => find("button[data-key='2']")?.click(),
  0: () => find("button[data-key='0']")?.click(),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (typing && event.key === "Escape") return event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || find("#help").open || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

// while the run is being read: its counts, and the list unless somebody is at it
setInterval(async () => {
  if (!document.body.hasAttribute("data-reading") || document.body.classList.contains("loading")) return;
  const mine = latest;
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== latest || !answer.ok) return;
    const busy = document.activeElement?.closest("#list");
    const parts = busy ? ["top"] : ["top", "list"];
    swap(page, find("#trace .sample.plain") && !busy ? PARTS : parts);
  } catch (error) {
    say("The server doesn't answer: is `dataforge view` still running?");
  }
}, 1000);

settle();
