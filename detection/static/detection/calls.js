"use strict";
// A call of the program's own pages: JSON out, JSON back.  Throws an Error with a sentence: with `code` and `status` for
// a refusal; without a code it may be tried again (no network, a proxy's page; `loggedOut`: first somebody must log in).
window.dfdPost = async (url, body, options = {}) => {
  const fault = (text, facts = {}) => Object.assign(new Error(text), facts);
  // Logging in again in another tab changes the token: the cookie has the newest one.
  const token = (document.cookie.match(/(?:^|; )csrftoken=([^;]+)/) || [])[1] || document.querySelector("[name=csrfmiddlewaretoken]").value;
  const user = document.querySelector("[data-dfd-user]");
  const answer = await fetch(url, {
    method: "POST",
    credentials: "same-origin",
    headers: {
      "Content-Type": "application/json",
      "X-CSRFToken": token,
      "X-DFD-User": user ? user.dataset.dfdUser : "",
      "X-DFD-Page": location.pathname + location.search,
    },
    body: JSON.stringify(body),
    ...options,
  }).catch(() => {
    throw fault(gettext("The server cannot be reached."));
  });
  if (answer.redirected) throw fault(gettext("You are logged out. Log in again in another tab, then go on here."), { loggedOut: true });
  const data = await answer.json().catch(() => ({}));
  if (answer.ok) return data;
  // Without its cookies a page is refused before anybody asks who sent it.
  if (answer.status === 403 && !data.code) throw fault(gettext("You are logged out. Log in again in another tab, then go on here."), { loggedOut: true });
  if (data.code === "other_user") throw fault(data.detail, { loggedOut: true });
  throw fault(data.detail || gettext("The server did not answer as it should; try again."), { code: data.code, status: answer.status });
};

// What a page asks for first.  The page before it gives back what it held when it goes, and the server may hear of that
// later: what looks empty is asked for once more.
window.dfdFirst = async (ask, isEmpty) => {
  const told = await ask();
  if (!isEmpty(told)) return told;
  await new Promise((resolve) => window.setTimeout(resolve, 700));
  return ask();
};
