"use strict";
// The page of one video: a face shows its moment in the player, and a codec that does not play says so.
document.addEventListener("DOMContentLoaded", () => {
  const player = document.getElementById("dfd-player");
  const note = document.getElementById("dfd-player-note");
  if (!player) return;
  const explain = () => {
    note.hidden = false;
    player.hidden = true;
    window.dfdEvidence.preview(player.dataset.video, player, note);
  };
  player.addEventListener("error", explain);
  if (player.error) explain();
  const drawn = document.getElementById("dfd-timeline");
  if (drawn) {
    const timeline = JSON.parse(document.getElementById("dfd-timeline-data").textContent);
    window.dfdFilm.setParts(player, timeline.segments);
    drawn.append(window.dfdTimeline.build(timeline, (seconds) => window.dfdFilm.seek(player, seconds, Number(player.dataset.fps))));
  }
  document.querySelectorAll("[data-seek]").forEach((button) => {
    button.addEventListener("click", () => {
      window.dfdFilm.seek(player, Number(button.dataset.seek), Number(player.dataset.fps));
      player.scrollIntoView({ block: "nearest", behavior: "smooth" });
    });
  });
});
