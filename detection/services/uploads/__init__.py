"""Uploads, resumable uploads and their quotas."""
