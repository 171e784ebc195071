// Dark or light: as the system has it, unless chosen here. Loaded before the page is drawn, so that it doesn't flash.
const system = matchMedia("(prefers-color-scheme: dark)");

function apply() {
  const theme = localStorage.getItem("theme") ?? (system.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  if (button) {
    button.textContent = theme === "dark" ? "light" : "dark";
    button.hidden = false;
  }
  document.dispatchEvent(new Event("theme"));
}

system.addEventListener("change", apply);
document.addEventListener("DOMContentLoaded", () => {
  document.getElementById("theme").addEventListener("click", (event) => {
    localStorage.setItem("theme", event.target.textContent);
    apply();
  });
  apply();
});
apply();
