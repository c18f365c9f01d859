"""Google Cloud: a project's service accounts and their keys, its BigQuery datasets, and the billing export."""
