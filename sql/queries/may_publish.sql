select has_table_privilege('ml.publication', 'insert') as may
