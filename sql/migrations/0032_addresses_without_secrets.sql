-- Addresses of files that were stored with a password, a signature or a token. New ones are stored without.
update raw.batch_file
set location = regexp_replace(location, '^([A-Za-z0-9+.-]+)://([^:/@]*:[^@]*|[^/?#@]*)@', '\1://***@')
where location like '%://%@%' and location not like 'file://%';

update raw.batch_file
set
    location = regexp_replace(
        location,
        '([?&;][^=&;]*(sig|signature|credential|token|secret|password|passwd|pwd|key|sas|auth)[^=&;]*=)[^&;#]*',
        '\1***', 'gi'
    ),
    name = regexp_replace(
        name,
        '([?&;][^=&;]*(sig|signature|credential|token|secret|password|passwd|pwd|key|sas|auth)[^=&;]*=)[^&;#]*',
        '\1***', 'gi'
    )
where location ~ '://[^?]*[?]' and location not like 'file://%';

update raw.batch
set
    source = regexp_replace(
        source,
        '([?&;][^=&;]*(sig|signature|credential|token|secret|password|passwd|pwd|key|sas|auth)[^=&;]*=)[^&;#, ]*',
        '\1***', 'gi'
    )
where source ~ '[?][^ ]*=';
