// Which of the runs on this page of the list are chosen for comparison.
const button = document.getElementById("compare");
const form = document.getElementById("comparison");
const MOST = 12; // that the comparison takes
const chosen = () => form.querySelectorAll('input[name="run"]:checked').length;

function tell() {
  const count = chosen();
  button.disabled = count < 2 || count > MOST;
  button.textContent = button.disabled ? `compare: choose two to ${MOST} runs` : `compare ${count} runs`;
}

form.addEventListener("change", tell);
document.addEventListener("refreshed", tell);
tell();
