"""Customers of the shop: most look at their basket, some put something into it."""

from locust import task

from meshverdict.load.users import OpenUser


class Customer(OpenUser):
    """Somebody with a basket."""

    @task(3)
    def look(self):
        """Look at the basket."""
        self._basket("/basket")

    @task(1)
    def add(self):
        """Put something into it."""
        self._basket("/basket/add")

    def _basket(self, path):
        with self.client.get(path, catch_response=True) as answer:
            if answer.status_code == 200 and "items" not in answer.json():
                answer.failure("no items")
