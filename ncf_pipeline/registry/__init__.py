"""What is stored: snapshots, model versions and their artifacts, publications, and which lists were live when."""
