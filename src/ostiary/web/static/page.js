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
