import pytest

pytestmark = pytest.mark.xdist_group("airflow")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ncf:secret@db.example:5433/shop",
        "postgresql://ncf:p%40ss%2Fword%3A@db.example:5432/shop",  # @ / : in the password
        "postgresql://ncf@db.example/shop",
        "postgresql://ncf:secret@db.example:5432/shop?sslmode=require",
    ],
)
def test_the_connection_retail_db_overrides_the_setting(monkeypatch, url):
    from ncf_pipeline.airflow.settings import task_settings

    monkeypatch.setenv("NCF_DATABASE_URL", "postgresql://other/other")
    monkeypatch.setenv("AIRFLOW_CONN_RETAIL_DB", url)
    assert task_settings().database() == url


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("redis://:secret@store.example:6380/2", "redis://:secret@store.example:6380/2"),
        ("redis://writer:secret@store.example:6380/0", "redis://writer:secret@store.example:6380/0"),
        ("redis://store.example:6379/", "redis://store.example:6379/"),
        ('{"conn_type": "redis", "host": "s", "port": 1, "extra": {"db": 3, "ssl": true}}', "rediss://s:1/3"),
        ("redis://s:1/?ssl=true", "rediss://s:1/"),
        ("rediss://s:1/0?ssl_ca_certs=%2Fetc%2Fca.pem", "rediss://s:1/0?ssl_ca_certs=%2Fetc%2Fca.pem"),
        (
            '{"conn_type": "redis", "host": "s", "extra": {"ssl": true, "ssl_ca_certs": "/ca.pem",'
            ' "ssl_certfile": "/c.pem", "ssl_keyfile": "/k.pem", "ssl_check_hostname": false}}',
            "rediss://s/?ssl_ca_certs=%2Fca.pem&ssl_certfile=%2Fc.pem&ssl_keyfile=%2Fk.pem&ssl_check_hostname=False",
        ),
    ],
)
def test_the_connection_list_store_overrides_the_setting(monkeypatch, connection, expected):
    from ncf_pipeline.airflow.settings import task_settings

    monkeypatch.setenv("NCF_REDIS_URL", "redis://other")
    monkeypatch.setenv("AIRFLOW_CONN_LIST_STORE", connection)
    assert task_settings().list_store() == expected


@pytest.mark.parametrize(
    "connection",
    ['{"conn_type": "redis", "host": "s", "extra": {"cluster": true}}', "redis://s?cluster=true"],
)
def test_the_connection_says_that_the_list_store_is_a_cluster(monkeypatch, connection):
    from ncf_pipeline.airflow.settings import task_settings

    monkeypatch.setenv("AIRFLOW_CONN_LIST_STORE", connection)
    settings = task_settings()
    assert (settings.list_store(), settings.redis_cluster) == ("redis://s/", True)
    monkeypatch.setenv("AIRFLOW_CONN_LIST_STORE", "redis://s")
    assert not task_settings().redis_cluster


def test_without_connections_the_settings_apply_and_params_override_them(monkeypatch):
    from ncf_pipeline.airflow.settings import task_settings

    monkeypatch.setenv("NCF_DATABASE_URL", "postgresql://db/shop")
    monkeypatch.setenv("NCF_K", "7")
    settings = task_settings(k=None, top_n=20)
    assert (settings.database(), settings.k, settings.top_n) == ("postgresql://db/shop", 7, 20)


def test_an_invalid_param_is_reported_in_one_line():
    from ncf_pipeline.airflow.settings import task_settings
    from ncf_pipeline.errors import SettingsError

    with pytest.raises(SettingsError, match="NCF_TOP_N"):
        task_settings(top_n=0)
