// The buttons and filters of a run's page.
const base = document.body.dataset.base;

document.addEventListener("click", async (event) => {
  const job = event.target.dataset?.cancel;
  if (job === undefined || !confirm("Stop the training at the end of its epoch?")) return;
  event.target.disabled = true;
  const answer = await fetch(`${base}/api/v1/jobs/${encodeURIComponent(job)}/cancel`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: "{}",
  });
  const refusals = answer.ok ? Object.values((await answer.json()).not_asked) : ["that was refused"];
  event.target.textContent = refusals.join("; ") || "asked to stop";
});

document.addEventListener("input", (event) => {
  const list = document.getElementById(event.target.dataset?.filter ?? "");
  const words = event.target.value?.toLowerCase();
  list?.querySelectorAll("dl > div").forEach((pair) => {
    pair.hidden = !pair.textContent.toLowerCase().includes(words);
  });
});

// Images that another tracker has shown are not kept here.
document.addEventListener("error", (event) => event.target.closest?.(".images figure")?.remove(), true);
