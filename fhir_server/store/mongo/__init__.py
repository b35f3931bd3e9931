"""The store on a MongoDB replica set or sharded cluster, for when one machine is not enough."""
