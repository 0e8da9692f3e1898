// What the page of the API can do with a script: commands are copied, the list of operations is filtered, and commands
// go to the server that the page came from.
"use strict";

document.getElementById("origin").textContent = location.origin;

for (const block of document.querySelectorAll("pre.copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const text = block.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // No clipboard without TLS: it is selected, and Ctrl+C does the rest.
      getSelection().selectAllChildren(block.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  block.append(button);
}

const filter = document.getElementById("filter");
filter.hidden = false;
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/);
  for (const list of document.querySelectorAll("nav ul:not(.documents)")) {
    for (const item of list.children) {
      const article = document.querySelector(item.firstElementChild.hash);
      const summary = article.querySelector(".summary").textContent;
      const text = `${item.textContent} ${summary} ${article.id}`.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
    }
    list.hidden = list.previousElementSibling.hidden = [...list.children].every((item) => item.hidden);
  }
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && event.target !== filter) {
    event.preventDefault();
    filter.focus();
  }
});
