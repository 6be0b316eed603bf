"use strict";
// A call of the program's own pages: JSON out, JSON back.  Throws an Error with `code` and `status` for a refusal; one
// without a code (no network, a proxy's page, logged out) may be tried again.
window.dfdPost = async (url, body, options = {}) => {
  // Logging in again in another tab changes the token: the cookie has the newest one.
  const token = (document.cookie.match(/(?:^|; )csrftoken=([^;]+)/) || [])[1] || document.querySelector("[name=csrfmiddlewaretoken]").value;
  const answer = await fetch(url, {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token },
    body: JSON.stringify(body),
    ...options,
  });
  if (answer.redirected) throw Object.assign(new Error("You are logged out. Log in again in another tab, then go on here."), { loggedOut: true });
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(data.detail || "The server did not answer as it should; try again."), { code: data.code, status: answer.status });
  return data;
};
