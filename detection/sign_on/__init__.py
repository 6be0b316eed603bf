"""Single sign-on by OpenID Connect (authorization code flow with PKCE), over mozilla-django-oidc."""
