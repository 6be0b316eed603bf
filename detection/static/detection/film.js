"use strict";
// The clip in its player: to the moment of a face, and on by single frames.
window.dfdFilm = (() => {
  // A frame stands from its own time to the next one's.  Times are rounded, so a seek aims well inside; not at the middle
  // of frames of average length, as those of phones differ in length.
  const INSIDE_S = 0.004;
  const USUAL_FPS = 25;

  const seek = (film, seconds, fps) => {
    film.pause();
    film.currentTime = seconds + Math.min(INSIDE_S, 0.5 / (fps || USUAL_FPS));
  };

  // From the middle of a frame to the middle of another.
  const step = (film, frames, fps) => {
    const rate = fps || USUAL_FPS;
    const standing = Math.floor(film.currentTime * rate + 0.02);
    film.pause();
    film.currentTime = Math.max(0, standing + frames + 0.5) / rate;
  };

  const toggle = (film) => (film.paused ? film.play() : Promise.resolve(film.pause())).catch(() => {});

  return { seek, step, toggle };
})();
