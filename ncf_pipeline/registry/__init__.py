"""What is kept: snapshots, versions, artifacts, publications, and who was live when."""
