"use strict";
// The evidence report on the page of a video: asked for, waited for, then two links.
document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("dfd-report-make");
  const links = document.getElementById("dfd-report-links");
  const said = document.getElementById("dfd-report-said");
  if (!button) return;
  button.addEventListener("click", async () => {
    button.disabled = true;
    said.textContent = gettext("Waiting for a worker …");
    const tell = (sentence) => {
      said.textContent = sentence;
    };
    const made = await window.dfdEvidence.follow(button.dataset.video, "report", { waits: () => button.isConnected, tell, again: true });
    button.disabled = false;
    if (!made) return;
    said.textContent = made.state === "succeeded" ? "" : made.sentence;
    links.hidden = made.state !== "succeeded";
    button.hidden = made.state === "succeeded";
  });
});
