-- An invoice's hash, from the text of all its lines at once: that takes half as long as an array of their texts.
drop function retail.invoice_sha256(text[]);

create function retail.invoice_sha256(content text) returns text
language sql stable strict parallel safe
return encode(sha256(convert_to(content, 'UTF8')), 'hex');
comment on function retail.invoice_sha256 is
'The hash of an invoice, from retail.line_content of its lines in their order, with U+001D between them.';
