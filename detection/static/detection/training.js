"use strict";
// While a training run is open its row, or its page, follows it; once it has ended the page is loaded again.
document.addEventListener("DOMContentLoaded", () => {
  const INTERVAL_MS = 2000;
  const charts = document.getElementById("dfd-charts");
  document.querySelectorAll("[data-live-url]").forEach((cell) => {
    const bar = cell.querySelector("progress");
    const show = (run) => {
      bar.value = run.progress;
      cell.querySelector("[data-live=progress]").textContent = `${run.progress} %`;
      cell.querySelector("[data-live=phase]").textContent = run.phase;
      if (charts && run.charts !== undefined && charts.dataset.epochs !== String(run.epochs)) {
        charts.dataset.epochs = String(run.epochs);
        charts.innerHTML = run.charts; // from our own templates, which escape
      }
    };
    const ask = async () => {
      let wait = INTERVAL_MS;
      try {
        if (!document.hidden) {
          const url = charts ? `${cell.dataset.liveUrl}?charts` : cell.dataset.liveUrl;
          const answer = await fetch(url, { credentials: "same-origin", redirect: "error" });
          if (answer.status === 403 || answer.status === 404) return;
          if (!answer.ok) throw new Error(String(answer.status));
          const run = await answer.json();
          if (!run.open || run.state !== cell.dataset.liveState) {
            window.location.reload();
            return;
          }
          show(run);
        }
      } catch {
        wait = 5 * INTERVAL_MS; // the server may be restarting
      }
      window.setTimeout(ask, wait);
    };
    window.setTimeout(ask, INTERVAL_MS);
  });
});
