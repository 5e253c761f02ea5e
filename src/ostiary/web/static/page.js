// What makes pages kinder where scripts run; none of them needs it.

const words = document.body.dataset;

for (const box of document.querySelectorAll(".secret")) {
  const input = box.querySelector("input");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = words.show;
  button.setAttribute("aria-controls", input.id);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    const isHidden = input.type === "password";
    input.type = isHidden ? "text" : "password";
    button.textContent = isHidden ? words.hide : words.show;
    button.setAttribute("aria-pressed", String(isHidden));
    input.focus();
  });
  box.append(button);
}

// A second click sends nothing twice. The browser's own "back" finds the form as it was.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.querySelector("button.primary")?.setAttribute("aria-busy", "true");
  });
}

addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
  }
});

// Moments in the reader's own time and language.
const moments = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = time.textContent;
  time.textContent = moments.format(new Date(time.dateTime));
}

// A secret or a list of codes: to the clipboard, to paper, to a file.
for (const source of document.querySelectorAll(".copyable")) {
  const words = source.dataset;
  const lines = source.matches("ul") ? [...source.querySelectorAll("li")].map((item) => item.textContent.trim()) : [source.textContent.replaceAll(" ", "")];
  const text = lines.join("\n");
  const row = document.createElement("p");
  row.className = "actions";
  const action = (label, run) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = label;
    button.addEventListener("click", () => run(button));
    row.append(button);
  };
  if (navigator.clipboard) {
    action(words.copy, async (button) => {
      await navigator.clipboard.writeText(text);
      button.textContent = words.copied;
    });
  }
  if (words.print) {
    action(words.print, () => print());
  }
  if (words.download) {
    action(words.download, () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([`${words.file}\n\n${text}\n`], { type: "text/plain" }));
      link.download = `${words.file}.txt`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
  source.after(row);
}
