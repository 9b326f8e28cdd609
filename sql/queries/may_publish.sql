select has_any_column_privilege('ml.publication', 'insert') as may
